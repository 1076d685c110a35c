"""The devices of clients that a method may read."""

from dataclasses import replace

from torch import nn

from orchestrator.federation.device_assignment import device_of
from tests.support.fakes import DEVICE, make_setting, seeded

SMALL = replace(DEVICE, name="small")


def test_profile_of_a_client_and_its_index() -> None:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3)))
    setting = make_setting(flat, (1, 3, 3), profiles=(DEVICE, SMALL), num_clients=4)
    assert setting.profiles == (DEVICE, SMALL)
    assert [setting.profile_of(k, 0) for k in range(4)] == [DEVICE, SMALL, DEVICE, SMALL]
    assert [setting.profile_index(k, 5) for k in range(4)] == [0, 1, 0, 1]


def test_redrawn_profile_and_index_agree_in_every_round() -> None:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3)))
    setting = make_setting(flat, (1, 3, 3), profiles=(DEVICE, SMALL), num_clients=4, seed=9)
    setting = replace(setting, population=replace(setting.population, redraw=True))
    pairs = [(setting.profile_of(k, r), setting.profile_index(k, r)) for k in range(4) for r in range(20)]
    assert all(profile is setting.profiles[index] for profile, index in pairs)
    assert {index for _, index in pairs} == {0, 1}
    assert setting.profile_of(2, 3) is device_of(setting.population, 9, 2, 3)
