"""The KubeRay manifests: Ray's autoscaler accepts them, and all pods have the same image, folder and token."""

from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import ray

from tests.support.cluster_files import (
    KUBERAY,
    ROOT,
    SHARED,
    Tree,
    autoscaler_config,
    load,
    start_options,
)


def cluster() -> Tree:
    """The RayCluster."""
    return load(KUBERAY / "cluster.yaml")


def job_cluster() -> Tree:
    """The RayCluster that KubeRay creates for the RayJob."""
    job = load(KUBERAY / "job.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    return {"metadata": job["metadata"], "spec": job["spec"]["rayClusterSpec"]}


BOTH = pytest.mark.parametrize("read", [cluster, job_cluster])


def groups(tree: Tree) -> list[Tree]:
    """The head group and the worker groups."""
    spec = tree["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def container(group: Tree) -> Tree:
    """The Ray container of a group's pods."""
    (one,) = group["template"]["spec"]["containers"]
    return dict(one)


@BOTH
def test_rays_autoscaler_accepts_the_cluster(read: Callable[[], Tree]) -> None:
    types = autoscaler_config(read())["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 1
    assert types["cpu"]["resources"]["CPU"] == 8
    assert all(0 <= kind["min_workers"] <= kind["max_workers"] for kind in types.values())


def test_gpus_are_optional() -> None:
    types = autoscaler_config(cluster())["available_node_types"]
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["max_workers"] > 0
    tree = cluster()
    tree["spec"]["workerGroupSpecs"].pop()
    assert set(autoscaler_config(tree)["available_node_types"]) == {"headgroup", "cpu"}


def _no_bound(tree: Tree) -> None:
    tree["spec"]["workerGroupSpecs"][0].pop("maxReplicas")


def _no_head(tree: Tree) -> None:
    tree["spec"].pop("headGroupSpec")


def _no_name(tree: Tree) -> None:
    tree["spec"]["workerGroupSpecs"][0].pop("groupName")


def _misspelt(tree: Tree) -> None:
    group = tree["spec"]["workerGroupSpecs"][0]
    group["minReplica"] = group.pop("minReplicas")


def _no_cpus(tree: Tree) -> None:
    container(tree["spec"]["workerGroupSpecs"][0])["resources"].clear()


def _negative(tree: Tree) -> None:
    tree["spec"]["workerGroupSpecs"][1]["resources"] = {"CPU": "-1"}


@BOTH
@pytest.mark.parametrize("edit", [_no_bound, _no_head, _no_name, _misspelt, _no_cpus])
def test_ray_rejects_a_wrong_cluster(read: Callable[[], Tree], edit: Callable[[Tree], None]) -> None:
    tree = read()
    edit(tree)
    with pytest.raises((KeyError, ValueError)):
        autoscaler_config(tree)


def test_ray_rejects_negative_resources() -> None:
    tree = cluster()
    _negative(tree)
    with pytest.raises(jsonschema.ValidationError):
        autoscaler_config(tree)


@BOTH
def test_ray_start_accepts_the_parameters(read: Callable[[], Tree]) -> None:
    for group in groups(read()):
        arguments = " ".join(f"--{name}={value}" for name, value in group["rayStartParams"].items())
        assert start_options(arguments)["num_cpus"] in (1, None)


@BOTH
def test_kuberay_creates_the_token_and_the_head_is_internal(read: Callable[[], Tree]) -> None:
    spec = read()["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    for group in groups(read()):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert "hostNetwork" not in pod
        assert not any("hostPort" in port for port in container(group).get("ports", []))


@BOTH
def test_all_pods_mount_the_shared_folder(read: Callable[[], Tree]) -> None:
    claim = load(KUBERAY / "storage.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["namespace"] == read()["metadata"]["namespace"]
    for group in groups(read()):
        (volume,) = group["template"]["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert container(group)["volumeMounts"] == [{"name": volume["name"], "mountPath": SHARED}]


def test_image_has_the_pinned_ray_version() -> None:
    trees = [cluster(), job_cluster()]
    assert len({container(group)["image"] for tree in trees for group in groups(tree)}) == 1
    base = f"FROM rayproject/ray:{ray.__version__}-py311\n"
    assert base in (KUBERAY / "Dockerfile").read_text()
    assert {tree["spec"]["rayVersion"] for tree in trees} == {ray.__version__}
    assert f"\nray=={ray.__version__}\n" in (ROOT / "constraints.txt").read_text()


def test_requests_of_a_pod_equal_its_limits() -> None:
    for group in [*groups(cluster()), *groups(job_cluster())]:
        resources: dict[str, Any] = container(group)["resources"]
        assert resources["requests"] == resources["limits"]
