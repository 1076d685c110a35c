"""The federated methods, one method in each file."""

from collections.abc import Mapping
from types import MappingProxyType

#: registry name -> module and class; a class is imported only when it is used
ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {
        "feddst": "algorithms.feddst:FedDST",
        "fedspa": "algorithms.fedspa:FedSpa",
        "ssfl": "algorithms.ssfl:SSFL",
        "fedlps": "algorithms.fedlps:FedLPS",
        "fedlps_as_coded": "algorithms.fedlps_as_coded:FedLPSAsCoded",
        "fedavg": "algorithms.fedavg:FedAvg",
        "fedavg_ft": "algorithms.fedavg_ft:FedAvgFT",
        "fedavgm": "algorithms.fedavgm:FedAvgM",
        "fedprox": "algorithms.fedprox:FedProx",
        "fedadam": "algorithms.fedadam:FedAdam",
        "fedyogi": "algorithms.fedyogi:FedYogi",
        "scaffold": "algorithms.scaffold:Scaffold",
        "feddyn": "algorithms.feddyn:FedDyn",
        "ditto": "algorithms.ditto:Ditto",
        "fedrep": "algorithms.fedrep:FedRep",
        "fedper": "algorithms.fedper:FedPer",
        "perfedavg": "algorithms.perfedavg:PerFedAvg",
        "pfedme": "algorithms.pfedme:PFedMe",
        "apfl": "algorithms.apfl:APFL",
        "local": "algorithms.local:Local",
        "local_submodel": "algorithms.local_submodel:LocalSubmodel",
        "randommask": "algorithms.randommask:RandomMask",
        "snip": "algorithms.snip:SNIP",
        "grasp": "algorithms.grasp:GraSP",
        "prunefl": "algorithms.prunefl:PruneFL",
        "lotteryfl": "algorithms.lotteryfl:LotteryFL",
        "subfedavg": "algorithms.subfedavg:SubFedAvg",
        "fedpm": "algorithms.fedpm:FedPM",
        "fedmask": "algorithms.fedmask:FedMask",
        "flash": "algorithms.flash:FLASH",
        "fedtiny": "algorithms.fedtiny:FedTiny",
        "feddip": "algorithms.feddip:FedDIP",
        "compsparse": "algorithms.compsparse:CompSparse",
        "zerofl": "algorithms.zerofl:ZeroFL",
        "sparsyfed": "algorithms.sparsyfed:SparsyFed",
        "spafl": "algorithms.spafl:SpaFL",
        "dispfl": "algorithms.dispfl:DisPFL",
        "topk": "algorithms.topk:TopK",
        "stc": "algorithms.stc:STC",
        "hermes": "algorithms.hermes:Hermes",
        "fedmp": "algorithms.fedmp:FedMP",
        "heterofl": "algorithms.heterofl:HeteroFL",
        "fedrolex": "algorithms.fedrolex:FedRolex",
        "fjord": "algorithms.fjord:FjORD",
    }
)
