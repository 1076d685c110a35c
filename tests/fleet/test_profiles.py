"""Device profiles: the resources that an actor reserves, and defaults."""

from tests.support.fleets import profile


def test_footprint_names_only_reserved_resources() -> None:
    assert profile("default").footprint() == {"CPU": 0.1}
    assert profile("gpu", num_cpus=2, num_gpus=0.5, ray_memory_bytes=2**30).footprint() == {
        "CPU": 2,
        "GPU": 0.5,
        "memory": 2.0**30,
    }
    assert profile("nothing", num_cpus=0).footprint() == {}
    assert profile(
        "kind", num_gpus=1, accelerator_type="H200", resources={"npu": 2, "none": 0}
    ).footprint() == {
        "CPU": 0.1,
        "GPU": 1,
        "accelerator_type:H200": 0.001,
        "npu": 2,
    }


def test_default_capability_is_the_whole_model() -> None:
    assert profile("default").capability == 1.0
    assert profile("small", capability=0.25).capability == 0.25
