"""Runs to their end: the cache, the gate, a schedule, a sweep, an object store, a step that fails, a token."""

from __future__ import annotations

from pathlib import Path

import pytest
from waiting import wait_until

from cluster.conftest import Saw
from cluster.endpoint import Ended, Endpoint
from pipelines.submit import ENDED

pytestmark = pytest.mark.cluster

PURE = {"fetch_data", "catalog", "pairs", "preprocess", "train", "evaluate"}


@pytest.fixture
def champion(endpoint: Endpoint, first: Ended) -> str:
    """The version that is champion before the check; without one the check has nothing to compare with."""
    version = endpoint.champion()
    assert version, f"the first run made no champion\n{first}"
    return version


def test_from_a_git_repository_to_a_champion(endpoint: Endpoint, first: Ended, saw: Saw) -> None:
    assert first.exit_code == 0, first
    assert (endpoint.versions(), endpoint.champion()) == (["1"], "1")
    version = endpoint.registry.get_model_version(endpoint.name, "1")
    training = endpoint.registry.get_run(version.run_id)
    assert training.info.status == "FINISHED"
    assert training.data.tags["siamese.data.hash"]
    saw(f"version 1 is champion; data {training.data.tags['siamese.data.hash']}, training {version.run_id}")


def test_again_every_pure_step_comes_from_the_cache(
    endpoint: Endpoint, champion: str, tmp_path: Path, saw: Saw
) -> None:
    before = endpoint.versions()
    again = endpoint.submit(tmp_path)
    assert again.exit_code == 0, again
    assert again.ended_as("succeeded (from the cache)") == PURE, again
    assert (endpoint.versions(), endpoint.champion()) == (before, champion)
    saw(f"cached: {', '.join(sorted(PURE))}; no new version")


def test_a_model_below_the_absolute_limits_is_not_registered(
    endpoint: Endpoint, champion: str, tmp_path: Path, saw: Saw
) -> None:
    before = endpoint.versions()
    refused = endpoint.submit(tmp_path, train__seed=endpoint.seed + 1, promote__min_precision=1.0, promote__max_eer=0.0)
    assert refused.exit_code == 0, refused
    assert "register" not in refused.ended_as("succeeded"), refused
    assert (endpoint.versions(), endpoint.champion()) == (before, champion)
    saw("the run succeeded without `register`; no new version")


def test_a_model_that_is_not_better_is_registered_and_refused(
    endpoint: Endpoint, champion: str, tmp_path: Path, saw: Saw
) -> None:
    """No p-value is below zero: the gate asks for what no model can show."""
    before = endpoint.versions()
    refused = endpoint.submit(tmp_path, train__seed=endpoint.seed + 1, promote__max_p_value=0.0)
    assert refused.exit_code == 0, refused
    (made,) = set(endpoint.versions()) - set(before)
    assert endpoint.champion() == champion
    why = endpoint.registry.get_model_version(endpoint.name, made).tags["siamese.refused.why"]
    assert "promote.max_p_value" in why
    saw(f"version {made} is refused ({why}); champion is still {champion}")


def test_two_runs_that_promote_at_once_judge_each_its_own_version(
    endpoint: Endpoint, champion: str, tmp_path: Path, saw: Saw
) -> None:
    before = endpoint.versions()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    both = [
        endpoint.begin(tmp_path / name, train__seed=endpoint.seed + more) for name, more in (("one", 2), ("other", 3))
    ]
    one, other = (following.ended() for following in both)
    assert (one.exit_code, other.exit_code) == (0, 0), f"{one}\n{other}"
    made = [version for version in endpoint.versions() if version not in before]
    assert len(made) == 2
    now = endpoint.champion()
    judged = {version: endpoint.judged(version) for version in made}
    assert all(judged.values()), judged
    assert now in {champion, *made}
    saw(f"{judged}; champion is {now}, was {champion}")


def test_a_schedule_fires(endpoint: Endpoint, champion: str, tmp_path: Path, saw: Saw) -> None:
    with endpoint.schedule(tmp_path, every="60s") as name:
        run = wait_until(lambda: endpoint.scheduled_run(name))
        wait_until(lambda: endpoint.run(run.run_id).state in ENDED)
    ended = endpoint.run(run.run_id)
    assert ended.state == "SUCCEEDED", ended
    saw(f"run {ended.display_name} of schedule {name} succeeded")


def test_of_a_sweep_one_candidate_is_registered(endpoint: Endpoint, champion: str, tmp_path: Path, saw: Saw) -> None:
    before = endpoint.versions()
    candidates = [{"seed": endpoint.seed + 4}, {"seed": endpoint.seed + 5}]
    swept = endpoint.submit(tmp_path, cluster={"sweep": {"parallel": 1, "candidates": candidates}})
    assert swept.exit_code == 0, swept
    (made,) = set(endpoint.versions()) - set(before)
    run = endpoint.registry.get_run(endpoint.registry.get_model_version(endpoint.name, made).run_id)
    seed = int(run.data.params["train.seed"])
    assert seed in [candidate["seed"] for candidate in candidates]
    saw(f"of seeds {[candidate['seed'] for candidate in candidates]}, {seed} became version {made}")


def test_data_of_an_object_store(endpoint: Endpoint, champion: str, tmp_path: Path, saw: Saw) -> None:
    uri = endpoint.given.get("CONFORMANCE_DATA_URI")
    if not uri:
        pytest.skip("CONFORMANCE_DATA_URI names no folder of an object store with images")
    done = endpoint.submit(tmp_path, "--repository", uri, "--revision", "v1", cluster={"data": "uri"})
    assert done.exit_code == 0, done
    saw(f"{uri} was imported and trained from")


def test_a_step_that_fails_ends_the_run_and_notify_runs(endpoint: Endpoint, tmp_path: Path, saw: Saw) -> None:
    """Every image has more pixels than one, so that none is left."""
    failed = endpoint.submit(tmp_path, data__max_pixels=1)
    assert failed.exit_code == 5, failed
    assert failed.answer["state"] == "FAILED"
    assert failed.ended_as("failed") == {"catalog"}, failed
    assert "notify" in failed.ended_as("succeeded"), failed
    (reason,) = [line for line in failed.lines if line.startswith("catalog: failed")]
    saw(f"exit code 5, {reason}; notify ran")


def test_a_revoked_token_is_one_line(endpoint: Endpoint, saw: Saw) -> None:
    if not endpoint.asks_to_log_in():
        pytest.skip("this endpoint asks nobody to log in")
    done = endpoint.command("schedule", "list", KFP_TOKEN="revoked", KFP_TOKEN_FILE="").ended()
    assert done.exit_code == 2, done
    (line,) = done.lines
    assert "asks to log in" in line
    saw(f"exit code 2: {line}")
