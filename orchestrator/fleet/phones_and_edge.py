"""The built-in fleet `phones-and-edge`: phones train on their CPU, edge boards and boxes on a part of a GPU.

Published figures and their sources:

- Phones, measured with vfpbench (https://wlog.flatlib.jp/category/25): single-precision multiply-adds, summed over the
  clusters of cores. The Snapdragon 845 reaches 139.3 GFLOP/s and the Snapdragon 808 reaches 74.0. The four Cortex-A53
  cores of the Snapdragon 808 reach 44.9; they represent a phone with four such cores (Snapdragon 425). The RAM is that
  of phones with these chips: Pixel 3, LG G4, Redmi 4A.
- Boards and boxes, peak of the data sheet: Jetson Orin Nano 8GB, 1.28 FP32 TFLOP/s (NVIDIA DS-11105-001 v1.5); Jetson
  AGX Orin 64GB, 5.3 FP32 TFLOP/s (NVIDIA TB_10749-001 v1.2).
- Bandwidth, measured by Ookla's Speedtest Global Index, means down and up in Mbit/s: mobile in India 12.91 and 4.97,
  mobile worldwide 47.20 and 12.67 (December 2020), fixed worldwide 84.33 and 44.10 (August 2020). telecomtalk.info
  reported these figures on 2021-01-20 and 2020-09-16.
- Dropout, measured: 6 to 10 percent of the phones of a round (Bonawitz et al., arXiv 1902.01046, section 9).

Assumptions:

- Training reaches a quarter of the arithmetic speeds above.
- Good phones, boards and boxes have a fixed connection; the other phones have mobile ones.
- A phone is available in the 8 hours of a day in which it is idle and charging. Boards and boxes are always available.
- The share of a model that a phone can train, the shares of the profiles, and the footprints on Ray are assumed.
"""

from orchestrator.fleet.profiles import DeviceProfile

_EFFICIENCY = 0.25
_GIB = 2**30
_BYTES_PER_MBIT = 1e6 / 8
_NIGHT = 8 / 24

PROFILES = (
    DeviceProfile(
        name="phone-basic",
        flops_per_s=_EFFICIENCY * 44.9e9,
        uplink_bytes_per_s=4.97 * _BYTES_PER_MBIT,
        downlink_bytes_per_s=12.91 * _BYTES_PER_MBIT,
        memory_bytes=2 * _GIB,
        capability=0.25,
        available_share=_NIGHT,
        dropout=0.10,
    ),
    DeviceProfile(
        name="phone-mid",
        flops_per_s=_EFFICIENCY * 74.0e9,
        uplink_bytes_per_s=12.67 * _BYTES_PER_MBIT,
        downlink_bytes_per_s=47.20 * _BYTES_PER_MBIT,
        memory_bytes=3 * _GIB,
        capability=0.5,
        available_share=_NIGHT,
        dropout=0.08,
    ),
    DeviceProfile(
        name="phone-good",
        flops_per_s=_EFFICIENCY * 139.3e9,
        uplink_bytes_per_s=44.10 * _BYTES_PER_MBIT,
        downlink_bytes_per_s=84.33 * _BYTES_PER_MBIT,
        memory_bytes=4 * _GIB,
        available_share=_NIGHT,
        dropout=0.06,
    ),
    DeviceProfile(
        name="edge-board",
        num_cpus=0.25,
        num_gpus=0.1,
        flops_per_s=_EFFICIENCY * 1.28e12,
        uplink_bytes_per_s=44.10 * _BYTES_PER_MBIT,
        downlink_bytes_per_s=84.33 * _BYTES_PER_MBIT,
        memory_bytes=8 * _GIB,
    ),
    DeviceProfile(
        name="edge-box",
        num_cpus=0.5,
        num_gpus=0.25,
        flops_per_s=_EFFICIENCY * 5.3e12,
        uplink_bytes_per_s=44.10 * _BYTES_PER_MBIT,
        downlink_bytes_per_s=84.33 * _BYTES_PER_MBIT,
        memory_bytes=64 * _GIB,
    ),
)

SHARES = (0.35, 0.3, 0.2, 0.1, 0.05)
