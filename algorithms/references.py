"""The publications of the built-in methods and of the sampling rules.

Titles are those of the published versions. The preprints of three works have other titles: `PERFEDAVG` ("Personalized
Federated Learning: A Meta-Learning Approach"), `LOTTERYFL` ("LotteryFL: Personalized and Communication-Efficient
Federated Learning with Lottery Ticket Hypothesis on Non-IID Datasets") and the first version of `SSFL` ("Unmasking
Efficiency: Learning Salient Sparse Models in Non-IID Federated Learning"). Names are as printed on the publication.
"""

from orchestrator.method import Citation

_AAAI = "AAAI Conference on Artificial Intelligence (AAAI)"
_ICDE = "IEEE International Conference on Data Engineering (ICDE)"
_TMLR = "Transactions on Machine Learning Research (TMLR)"
_ICML = "International Conference on Machine Learning (ICML)"
_ICLR = "International Conference on Learning Representations (ICLR)"
_NEURIPS = "Advances in Neural Information Processing Systems (NeurIPS)"
_TNNLS = "IEEE Transactions on Neural Networks and Learning Systems (TNNLS)"

FEDAVG = Citation(
    key="mcmahan2017fedavg",
    title="Communication-Efficient Learning of Deep Networks from Decentralized Data",
    authors=(
        "McMahan, H. Brendan",
        "Moore, Eider",
        "Ramage, Daniel",
        "Hampson, Seth",
        "Agüera y Arcas, Blaise",
    ),
    year=2017,
    conference="International Conference on Artificial Intelligence and Statistics (AISTATS)",
    arxiv="1602.05629",
)

FEDAVGM = Citation(
    key="hsu2019fedavgm",
    title="Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification",
    authors=(
        "Hsu, Tzu-Ming Harry",
        "Qi, Hang",
        "Brown, Matthew",
    ),
    year=2019,
    arxiv="1909.06335",
)

FEDPROX = Citation(
    key="li2020fedprox",
    title="Federated Optimization in Heterogeneous Networks",
    authors=(
        "Li, Tian",
        "Sahu, Anit Kumar",
        "Zaheer, Manzil",
        "Sanjabi, Maziar",
        "Talwalkar, Ameet",
        "Smith, Virginia",
    ),
    year=2020,
    conference="Proceedings of Machine Learning and Systems (MLSys)",
    arxiv="1812.06127",
)

FEDOPT = Citation(
    key="reddi2021fedopt",
    title="Adaptive Federated Optimization",
    authors=(
        "Reddi, Sashank J.",
        "Charles, Zachary",
        "Zaheer, Manzil",
        "Garrett, Zachary",
        "Rush, Keith",
        "Konečný, Jakub",
        "Kumar, Sanjiv",
        "McMahan, H. Brendan",
    ),
    year=2021,
    conference=_ICLR,
    arxiv="2003.00295",
)

SCAFFOLD = Citation(
    key="karimireddy2020scaffold",
    title="SCAFFOLD: Stochastic Controlled Averaging for Federated Learning",
    authors=(
        "Karimireddy, Sai Praneeth",
        "Kale, Satyen",
        "Mohri, Mehryar",
        "Reddi, Sashank J.",
        "Stich, Sebastian U.",
        "Suresh, Ananda Theertha",
    ),
    year=2020,
    conference=_ICML,
    arxiv="1910.06378",
)

FEDDYN = Citation(
    key="acar2021feddyn",
    title="Federated Learning Based on Dynamic Regularization",
    authors=(
        "Acar, Durmus Alp Emre",
        "Zhao, Yue",
        "Matas Navarro, Ramon",
        "Mattina, Matthew",
        "Whatmough, Paul N.",
        "Saligrama, Venkatesh",
    ),
    year=2021,
    conference=_ICLR,
    arxiv="2111.04263",
)

DITTO = Citation(
    key="li2021ditto",
    title="Ditto: Fair and Robust Federated Learning Through Personalization",
    authors=(
        "Li, Tian",
        "Hu, Shengyuan",
        "Beirami, Ahmad",
        "Smith, Virginia",
    ),
    year=2021,
    conference=_ICML,
    arxiv="2012.04221",
)

FEDREP = Citation(
    key="collins2021fedrep",
    title="Exploiting Shared Representations for Personalized Federated Learning",
    authors=(
        "Collins, Liam",
        "Hassani, Hamed",
        "Mokhtari, Aryan",
        "Shakkottai, Sanjay",
    ),
    year=2021,
    conference=_ICML,
    arxiv="2102.07078",
)

FEDPER = Citation(
    key="arivazhagan2019fedper",
    title="Federated Learning with Personalization Layers",
    authors=(
        "Arivazhagan, Manoj Ghuhan",
        "Aggarwal, Vinay",
        "Singh, Aaditya Kumar",
        "Choudhary, Sunav",
    ),
    year=2019,
    arxiv="1912.00818",
)

FEDBN = Citation(
    key="li2021fedbn",
    title="FedBN: Federated Learning on Non-IID Features via Local Batch Normalization",
    authors=(
        "Li, Xiaoxiao",
        "Jiang, Meirui",
        "Zhang, Xiaofei",
        "Kamp, Michael",
        "Dou, Qi",
    ),
    year=2021,
    conference=_ICLR,
    arxiv="2102.07623",
)

SILOBN = Citation(
    key="andreux2020silobn",
    title="Siloed Federated Learning for Multi-Centric Histopathology Datasets",
    authors=(
        "Andreux, Mathieu",
        "Ogier du Terrail, Jean",
        "Beguier, Constance",
        "Tramel, Eric W.",
    ),
    year=2020,
    arxiv="2008.07424",
)

PERFEDAVG = Citation(
    key="fallah2020perfedavg",
    title="Personalized Federated Learning with Theoretical Guarantees: A Model-Agnostic Meta-Learning Approach",
    authors=(
        "Fallah, Alireza",
        "Mokhtari, Aryan",
        "Ozdaglar, Asuman",
    ),
    year=2020,
    conference=_NEURIPS,
    arxiv="2002.07948",
)

PFEDME = Citation(
    key="dinh2020pfedme",
    title="Personalized Federated Learning with Moreau Envelopes",
    authors=(
        "Dinh, Canh T.",
        "Tran, Nguyen H.",
        "Nguyen, Tuan Dung",
    ),
    year=2020,
    conference=_NEURIPS,
    arxiv="2006.08848",
)

APFL = Citation(
    key="deng2020apfl",
    title="Adaptive Personalized Federated Learning",
    authors=(
        "Deng, Yuyang",
        "Kamani, Mohammad Mahdi",
        "Mahdavi, Mehrdad",
    ),
    year=2020,
    arxiv="2003.13461",
)

FEDDST = Citation(
    key="bibikar2022feddst",
    title="Federated Dynamic Sparse Training: Computing Less, Communicating Less, Yet Learning Better",
    authors=(
        "Bibikar, Sameer",
        "Vikalo, Haris",
        "Wang, Zhangyang",
        "Chen, Xiaohan",
    ),
    year=2022,
    conference=_AAAI,
    arxiv="2112.09824",
    doi="10.1609/aaai.v36i6.20555",
)

FEDSPA = Citation(
    key="huang2022fedspa",
    title="Achieving Personalized Federated Learning with Sparse Local Models",
    authors=(
        "Huang, Tiansheng",
        "Liu, Shiwei",
        "Shen, Li",
        "He, Fengxiang",
        "Lin, Weiwei",
        "Tao, Dacheng",
    ),
    year=2022,
    arxiv="2201.11380",
)

SSFL = Citation(
    key="ohib2026ssfl",
    title="SSFL: Discovering Sparse Unified Subnetworks at Initialization for Efficient Federated Learning",
    authors=(
        "Ohib, Riyasat",
        "Thapaliya, Bishal",
        "Dziugaite, Gintare Karolina",
        "Liu, Jingyu",
        "Calhoun, Vince D.",
        "Plis, Sergey",
    ),
    year=2026,
    journal=_TMLR,
    arxiv="2405.09037",
)

FEDLPS = Citation(
    key="xue2025fedlps",
    title="Learnable Sparse Customization in Heterogeneous Edge Computing",
    authors=(
        "Xue, Jingjing",
        "Sun, Sheng",
        "Liu, Min",
        "Wang, Yuwei",
        "Liu, Zhuotao",
        "Wang, Jingyuan",
    ),
    year=2025,
    conference=_ICDE,
    arxiv="2412.07216",
)

DISPFL = Citation(
    key="dai2022dispfl",
    title="DisPFL: Towards Communication-Efficient Personalized Federated Learning via Decentralized Sparse Training",
    authors=(
        "Dai, Rong",
        "Shen, Li",
        "He, Fengxiang",
        "Tian, Xinmei",
        "Tao, Dacheng",
    ),
    year=2022,
    conference=_ICML,
    arxiv="2206.00187",
)

LOCKDOWN = Citation(
    key="huang2023lockdown",
    title="Lockdown: Backdoor Defense for Federated Learning with Isolated Subspace Training",
    authors=(
        "Huang, Tiansheng",
        "Hu, Sihao",
        "Chow, Ka-Ho",
        "Ilhan, Fatih",
        "Tekin, Selim Furkan",
        "Liu, Ling",
    ),
    year=2023,
    conference=_NEURIPS,
    url="https://openreview.net/forum?id=V5cQH7JbGo",
)

SNIP = Citation(
    key="lee2019snip",
    title="SNIP: Single-shot Network Pruning based on Connection Sensitivity",
    authors=(
        "Lee, Namhoon",
        "Ajanthan, Thalaiyasingam",
        "Torr, Philip H. S.",
    ),
    year=2019,
    conference=_ICLR,
    arxiv="1810.02340",
)

PRUNEFL = Citation(
    key="jiang2022prunefl",
    title="Model Pruning Enables Efficient Federated Learning on Edge Devices",
    authors=(
        "Jiang, Yuang",
        "Wang, Shiqiang",
        "Valls, Victor",
        "Ko, Bong Jun",
        "Lee, Wei-Han",
        "Leung, Kin K.",
        "Tassiulas, Leandros",
    ),
    year=2022,
    journal=_TNNLS,
    arxiv="1909.12326",
    doi="10.1109/TNNLS.2022.3166101",
)

LOTTERYFL = Citation(
    key="li2021lotteryfl",
    title="LotteryFL: Empower Edge Intelligence with Personalized and Communication-Efficient Federated Learning",
    authors=(
        "Li, Ang",
        "Sun, Jingwei",
        "Wang, Binghui",
        "Duan, Lin",
        "Li, Sicheng",
        "Chen, Yiran",
        "Li, Hai",
    ),
    year=2021,
    conference="IEEE/ACM Symposium on Edge Computing (SEC)",
    arxiv="2008.03371",
    doi="10.1145/3453142.3492909",
)

SUBFEDAVG = Citation(
    key="vahidian2021subfedavg",
    title="Personalized Federated Learning by Structured and Unstructured Pruning under Data Heterogeneity",
    authors=(
        "Vahidian, Saeed",
        "Morafah, Mahdi",
        "Lin, Bill",
    ),
    year=2021,
    conference="IEEE International Conference on Distributed Computing Systems Workshops (ICDCSW)",
    arxiv="2105.00562",
    doi="10.1109/ICDCSW53096.2021.00012",
)

FEDPM = Citation(
    key="isik2023fedpm",
    title="Sparse Random Networks for Communication-Efficient Federated Learning",
    authors=(
        "Isik, Berivan",
        "Pase, Francesco",
        "Gunduz, Deniz",
        "Weissman, Tsachy",
        "Zorzi, Michele",
    ),
    year=2023,
    conference=_ICLR,
    arxiv="2209.15328",
)

MEMORY_SGD = Citation(
    key="stich2018memory",
    title="Sparsified SGD with Memory",
    authors=(
        "Stich, Sebastian U.",
        "Cordonnier, Jean-Baptiste",
        "Jaggi, Martin",
    ),
    year=2018,
    conference=_NEURIPS,
    arxiv="1809.07599",
)

STC = Citation(
    key="sattler2020stc",
    title="Robust and Communication-Efficient Federated Learning from Non-IID Data",
    authors=(
        "Sattler, Felix",
        "Wiedemann, Simon",
        "Müller, Klaus-Robert",
        "Samek, Wojciech",
    ),
    year=2020,
    journal=_TNNLS,
    arxiv="1903.02891",
    doi="10.1109/TNNLS.2019.2944481",
)

HETEROFL = Citation(
    key="diao2021heterofl",
    title="HeteroFL: Computation and Communication Efficient Federated Learning for Heterogeneous Clients",
    authors=(
        "Diao, Enmao",
        "Ding, Jie",
        "Tarokh, Vahid",
    ),
    year=2021,
    conference=_ICLR,
    arxiv="2010.01264",
)

FEDERATED_DROPOUT = Citation(
    key="caldas2018dropout",
    title="Expanding the Reach of Federated Learning by Reducing Client Resource Requirements",
    authors=(
        "Caldas, Sebastian",
        "Konečný, Jakub",
        "McMahan, H. Brendan",
        "Talwalkar, Ameet",
    ),
    year=2018,
    arxiv="1812.07210",
)

FEDROLEX = Citation(
    key="alam2022fedrolex",
    title="FedRolex: Model-Heterogeneous Federated Learning with Rolling Sub-Model Extraction",
    authors=(
        "Alam, Samiul",
        "Liu, Luyang",
        "Yan, Ming",
        "Zhang, Mi",
    ),
    year=2022,
    conference=_NEURIPS,
    arxiv="2212.01548",
)

FJORD = Citation(
    key="horvath2021fjord",
    title="FjORD: Fair and Accurate Federated Learning under heterogeneous targets with Ordered Dropout",
    authors=(
        "Horváth, Samuel",
        "Laskaridis, Stefanos",
        "Almeida, Mario",
        "Leontiadis, Ilias",
        "Venieris, Stylianos I.",
        "Lane, Nicholas D.",
    ),
    year=2021,
    conference=_NEURIPS,
    arxiv="2102.13451",
)

GRASP = Citation(
    key="wang2020grasp",
    title="Picking Winning Tickets Before Training by Preserving Gradient Flow",
    authors=(
        "Wang, Chaoqi",
        "Zhang, Guodong",
        "Grosse, Roger",
    ),
    year=2020,
    conference=_ICLR,
    arxiv="2002.07376",
)

FLASH = Citation(
    key="babakniya2023flash",
    title="Revisiting Sparsity Hunting in Federated Learning: Why does Sparsity Consensus Matter?",
    authors=(
        "Babakniya, Sara",
        "Kundu, Souvik",
        "Prakash, Saurav",
        "Niu, Yue",
        "Avestimehr, Salman",
    ),
    year=2023,
    journal=_TMLR,
    arxiv="2208.13092",
)

SPAFL = Citation(
    key="kim2024spafl",
    title="SpaFL: Communication-Efficient Federated Learning with Sparse Models and Low Computational Overhead",
    authors=(
        "Kim, Minsu",
        "Saad, Walid",
        "Debbah, Merouane",
        "Hong, Choong Seon",
    ),
    year=2024,
    conference=_NEURIPS,
    arxiv="2406.00431",
)

FEDTINY = Citation(
    key="huang2023fedtiny",
    title="Distributed Pruning Towards Tiny Neural Networks in Federated Learning",
    authors=(
        "Huang, Hong",
        "Zhang, Lan",
        "Sun, Chaoyue",
        "Fang, Ruogu",
        "Yuan, Xiaoyong",
        "Wu, Dapeng",
    ),
    year=2023,
    conference="IEEE International Conference on Distributed Computing Systems (ICDCS)",
    arxiv="2212.01977",
    doi="10.1109/ICDCS57875.2023.00036",
)

FEDMP = Citation(
    key="jiang2022fedmp",
    title="FedMP: Federated Learning through Adaptive Model Pruning in Heterogeneous Edge Computing",
    authors=(
        "Jiang, Zhida",
        "Xu, Yang",
        "Xu, Hongli",
        "Wang, Zhiyuan",
        "Qiao, Chunming",
        "Zhao, Yangming",
    ),
    year=2022,
    conference=_ICDE,
    doi="10.1109/ICDE53745.2022.00062",
)

HERMES = Citation(
    key="li2021hermes",
    title="Hermes: An Efficient Federated Learning Framework for Heterogeneous Mobile Clients",
    authors=(
        "Li, Ang",
        "Sun, Jingwei",
        "Li, Pengcheng",
        "Pu, Yu",
        "Li, Hai",
        "Chen, Yiran",
    ),
    year=2021,
    conference="International Conference on Mobile Computing and Networking (MobiCom)",
    doi="10.1145/3447993.3483278",
)

COMPLEMENT_SPARSIFICATION = Citation(
    key="jiang2023complement",
    title="Complement Sparsification: Low-Overhead Model Pruning for Federated Learning",
    authors=(
        "Jiang, Xiaopeng",
        "Borcea, Cristian",
    ),
    year=2023,
    conference=_AAAI,
    arxiv="2303.06237",
)

ZEROFL = Citation(
    key="qiu2022zerofl",
    title="ZeroFL: Efficient On-Device Training for Federated Learning with Local Sparsity",
    authors=(
        "Qiu, Xinchi",
        "Fernandez-Marques, Javier",
        "Gusmao, Pedro PB",
        "Gao, Yan",
        "Parcollet, Titouan",
        "Lane, Nicholas Donald",
    ),
    year=2022,
    conference=_ICLR,
    arxiv="2208.02507",
)

OORT = Citation(
    key="lai2021oort",
    title="Oort: Efficient Federated Learning via Guided Participant Selection",
    authors=(
        "Lai, Fan",
        "Zhu, Xiangfeng",
        "Madhyastha, Harsha V.",
        "Chowdhury, Mosharaf",
    ),
    year=2021,
    conference="USENIX Symposium on Operating Systems Design and Implementation (OSDI)",
    arxiv="2010.06081",
)

REFL = Citation(
    key="abdelmoniem2023refl",
    title="REFL: Resource-Efficient Federated Learning",
    authors=(
        "Abdelmoniem, Ahmed M.",
        "Sahu, Atal Narayan",
        "Canini, Marco",
        "Fahmy, Suhaib A.",
    ),
    year=2023,
    conference="European Conference on Computer Systems (EuroSys)",
    arxiv="2111.01108",
    doi="10.1145/3552326.3567485",
)

FEDDIP = Citation(
    key="long2023feddip",
    title="FedDIP: Federated Learning with Extreme Dynamic Pruning and Incremental Regularization",
    authors=(
        "Long, Qianyu",
        "Anagnostopoulos, Christos",
        "Parambath, Shameem Puthiya",
        "Bi, Daning",
    ),
    year=2023,
    conference="IEEE International Conference on Data Mining (ICDM)",
    arxiv="2309.06805",
)

SPARSYFED = Citation(
    key="guastella2025sparsyfed",
    title="SparsyFed: Sparse Adaptive Federated Training",
    authors=(
        "Guastella, Adriano",
        "Sani, Lorenzo",
        "Iacob, Alex",
        "Mora, Alessio",
        "Bellavista, Paolo",
        "Lane, Nicholas Donald",
    ),
    year=2025,
    conference=_ICLR,
    arxiv="2504.05153",
)

FEDMASK = Citation(
    key="li2021fedmask",
    title="FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via Heterogeneous "
    "Masking",
    authors=(
        "Li, Ang",
        "Sun, Jingwei",
        "Zeng, Xiao",
        "Zhang, Mi",
        "Li, Hai",
        "Chen, Yiran",
    ),
    year=2021,
    conference="ACM Conference on Embedded Networked Sensor Systems (SenSys)",
    doi="10.1145/3485730.3485929",
)

KAIMING = Citation(
    key="he2015delving",
    title="Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
    authors=(
        "He, Kaiming",
        "Zhang, Xiangyu",
        "Ren, Shaoqing",
        "Sun, Jian",
    ),
    year=2015,
    conference="IEEE International Conference on Computer Vision (ICCV)",
    arxiv="1502.01852",
)

#: the publications of the sampling rules
SAMPLING_RULES = (
    OORT,
    REFL,
)
