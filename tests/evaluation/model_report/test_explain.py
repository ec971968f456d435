"""The model report: a page of what was computed, and the command that writes it."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, working_folder
from page_reader import Page
from PIL import Image
from small_evaluation import PARAMS, Means, Oracle, World, world

from siamese import cli, config
from siamese.errors import InputError
from siamese.evaluation import example_pairs
from siamese.evaluation.metrics.verification import same
from siamese.evaluation.model_report import analysis, explain, occlusion
from siamese.evaluation.model_report.analysis import Findings
from siamese.evaluation.report import percent
from siamese.models.scoring import Head, to_score

THRESHOLD = 0.5
HEAD = Head(np.repeat(np.array([-0.4, 0], np.float32), 50) / 100, 0.2 * 85)
WEIGHTS = "0123456789abcdef" * 4


class Linear(Means):
    """Scores as a network does, by a last layer: 0.5 where upper halves differ by 85 grey levels on average."""

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (1 / (1 + np.exp(-(np.abs(anchors - others) @ HEAD.weights + HEAD.bias)))).astype(np.float32)


def found(made: World, scorer=None, split="test", threshold=THRESHOLD, given=None) -> Findings:
    return analysis.find(
        made.catalog, made.pairs, split, scorer or Linear(), HEAD, made, threshold, given, PARAMS, WEIGHTS
    )


WORLD = world()
FOUND = found(WORLD)


def rendered(findings: Findings = FOUND, made: World = WORLD, *notes: str) -> str:
    return explain.render(findings, made, PARAMS, notes)


def between(title: str, following: str) -> str:
    return Page(rendered()).text.partition(title)[2].partition(following)[0]


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def test_it_needs_nothing_but_itself() -> None:
    html = rendered(FOUND, WORLD, "A note.")
    page = Page(html)
    outside = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<iframe", outside)
    sources = page.every("src") + page.every("href")
    assert len(sources) > 50 and all(source.startswith("data:image/png;base64,") for source in sources)


def test_equal_findings_give_equal_text() -> None:
    assert rendered(found(WORLD)) == rendered()


def test_what_a_user_provides_is_shown_and_never_run() -> None:
    made = world(names="<script>alert('{}')</script>&\"><img src=x onerror=y>")
    page = Page(rendered(found(made), made, "<b>note</b>"))
    assert "script" not in page.tags and "onerror" not in {name for name, _ in page.attributes}
    assert "<script>alert('" in page.text and "<b>note</b>" in page.text


def test_counts_threshold_and_figures_are_those_computed() -> None:
    """153 pairs of 6 identities, 18 positive; mistakes are counted here once more."""
    text, model = Page(rendered()).text, FOUND.measured.model
    truth, judged = FOUND.measured.test.label.to_numpy() == 1, model.scores >= np.float32(THRESHOLD)
    assert "The 153 pairs of the test split of 6 identities: 18 of the same identity, 135 of different ones." in text
    assert f"from a score of 0.5 on. So judged, {(judged & ~truth).sum()} pairs are false accepts" in text
    assert f"and {(truth & ~judged).sum()} are false rejects" in text
    assert f"{model.values['auc']:.3f}" in text and percent(model.values["eer"]) in text
    assert "weights 0123456789ab " in text


def test_pairs_of_both_kinds_are_shown_with_their_scores_from_lowest_to_highest() -> None:
    rows = analysis.rows_shown(FOUND.measured)
    scores, truth = FOUND.measured.model.scores, FOUND.measured.test.label.to_numpy() == 1
    section = between("Pairs and their scores", "The worst mistakes")
    shown = [float(score) for score in re.findall(r"score (\d\.\d{3})", section)]
    assert shown == [round(float(scores[row]), 3) for kind in (True, False) for row in rows[kind]]
    for kind, chosen in rows.items():
        assert (truth[chosen] == kind).all() and len(chosen) == analysis.SHOWN
        assert (np.diff(scores[chosen]) >= 0).all()
        assert scores[chosen[0]] == scores[truth == kind].min() and scores[chosen[-1]] == scores[truth == kind].max()


def test_the_worst_mistakes_come_first_and_none_shows_an_image_twice() -> None:
    scores, truth = FOUND.measured.model.scores, FOUND.measured.test.label.to_numpy() == 1
    section = between("The worst mistakes", " ROC ")
    shown = [float(score) for score in re.findall(r"score (\d\.\d{3})", section)]
    accepts, rejects = (example_pairs.choose(FOUND.measured)[kind] for kind in ("false_accepts", "false_rejects"))
    assert shown == [round(float(scores[row]), 3) for row in (*accepts, *rejects)]
    assert shown[0] == pytest.approx(scores[~truth].max(), abs=5e-4)
    assert shown[len(accepts)] == pytest.approx(scores[truth].min(), abs=5e-4)


def test_without_mistakes_it_says_so() -> None:
    made = world(marked=True)
    page = Page(rendered(found(made, Oracle()), made))
    assert "None: no pair of different identities was judged the same." in page.text
    assert "0 pairs are false accepts and 0 are false rejects" in page.text


def test_the_map_tells_how_much_it_shows() -> None:
    """6 identities of 3 images. Shares are those of the singular values of what is shown: the upper half alone, which
    alone the last layer weighs."""
    text = Page(rendered()).text
    embeddings = Means().embed(WORLD.pixels(FOUND.shown.image_ids)).astype(np.float64)[:, :50]
    spread = np.linalg.svd(embeddings - embeddings.mean(axis=0), compute_uv=False) ** 2
    shares = spread[:2] / spread.sum()
    assert "18 images of 6 of the split's 6 identities. Its embedding, 100 numbers" in text
    assert f"The axes show {percent(shares[0])} and {percent(shares[1])} of the variance" in text
    apart = np.linalg.norm(embeddings[:, None] - embeddings, axis=2) + np.diag(np.full(18, np.inf))
    own = (FOUND.shown.owners[apart.argmin(axis=1)] == FOUND.shown.owners).mean()
    assert f"and for {percent(own)} of them in all 100 dimensions" in text


def test_regions_are_of_right_pairs_and_of_the_worst_mistakes() -> None:
    model, truth = FOUND.measured.model, FOUND.measured.test.label.to_numpy() == 1
    judged = same(model.scores, THRESHOLD)
    kinds = [kind for kind, _ in analysis.rows_looked_into(FOUND.measured)]
    rows = [row for _, row in analysis.rows_looked_into(FOUND.measured)]
    assert kinds == ["right", "right", "right", "false_accepts", "false_rejects"]
    assert (truth & judged)[rows[:3]].all()
    assert model.scores[rows[3]] == model.scores[~truth].max() and model.scores[rows[4]] == model.scores[truth].min()
    for one, row in zip(FOUND.regions, rows, strict=True):
        pair = FOUND.measured.test.iloc[row]
        np.testing.assert_array_equal(one.pixels, WORLD.pixels([pair.anchor_id, pair.other_id]))
        assert to_score(one.log_odds) == pytest.approx(model.scores[row], abs=1e-6)
        assert one.changes.shape == (2, 100, 100) and np.abs(one.changes).max() > 0


def test_a_pair_that_was_given_stands_last_and_its_truth_is_unknown() -> None:
    given = WORLD.pixels(sorted(WORLD.drawn)[:2])
    findings = found(WORLD, given=given)
    html = rendered(findings)
    last = html.rpartition("The pair that was given")
    assert "truth:" not in last[2] and "with a place hidden: " in last[2]
    sources = Page(html).every("src")[-4:]
    np.testing.assert_array_equal(decoded(sources[0]), given[0])
    np.testing.assert_array_equal(decoded(sources[1]), given[1])
    changes = findings.regions[-1].changes
    for number in (0, 1):
        expected = occlusion.overlay(given[number], changes[number], float(np.abs(changes).max()))
        np.testing.assert_array_equal(decoded(sources[2 + number]), expected)


def test_role_folders_have_a_page() -> None:
    """In test, 3 images are the target's and 15 of unknown identity."""
    made = world(roles=True)
    text = Page(rendered(found(made), made)).text
    assert "The 48 pairs of the test split: 3 of the same identity, 45 of different ones." in text
    assert "3 images of the target and 15 of unknown identity" in text
    assert "target / unknown" in text and "identity unknown" in text


@pytest.mark.parametrize(("split", "called"), [("train", "training"), ("validation", "validation")])
def test_another_split_is_told_to_flatter(split: str, called: str) -> None:
    page = Page(rendered(found(WORLD, split=split)))
    assert f"These are the pairs of the {called} split" in page.text
    assert f"Scores of all {split} pairs" in page.every("aria-label")


def test_a_threshold_that_nothing_reaches_has_a_page() -> None:
    text = Page(rendered(found(WORLD, threshold=1.001))).text
    assert "0 pairs are false accepts and 18 are false rejects" in text


def test_pairs_that_allow_no_figures_are_refused_before_anything_is_embedded() -> None:
    only = World(WORLD.catalog, WORLD.pairs[WORLD.pairs.label == 1], WORLD.drawn)
    less = World(WORLD.catalog[1:], WORLD.pairs, WORLD.drawn)
    scorer = Means()
    with pytest.raises(InputError, match="split 'test' has 18 positive and 0 negative pairs"):
        found(only, scorer)
    with pytest.raises(InputError, match="pairs name images that the catalog lacks"):
        found(less, scorer)
    assert scorer.embedded == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all steps ran, with the network that costs least."""
    folder = tmp_path_factory.mktemp("place")
    # Eight test identities: enough for intervals.
    own = {"sample.identities": 40, "model.network": "convolutional", "train.epochs": 4, "tracking.enabled": "false"}
    small = SMALL | own
    text = config.to_yaml(
        config.load_params(config.packaged_file(), [f"{key}={value}" for key, value in small.items()])
    )
    (folder / "params.yaml").write_text(text)
    with working_folder(folder):
        for step in ("sample", "catalog", "pairs", "preprocess", "train", "evaluate"):
            assert cli.run([step]) == 0, step
    return folder


@pytest.fixture
def here(place: Path):
    with working_folder(place):
        yield place


@pytest.fixture(scope="module")
def two(place: Path) -> tuple[str, str]:
    paths = pd.read_parquet(place / "artifacts/catalog.parquet")["path"]
    return f"data/sample/{paths.iloc[0]}", f"data/sample/{paths.iloc[-1]}"


class TestCommand:
    def test_the_page_shows_the_figures_of_evaluate_and_the_score_of_verify(self, here, two, tmp_path, capsys) -> None:
        """Test split and threshold are evaluate's, so are the figures; the pair given is scored by `verify`, too."""
        pages = [tmp_path / "one.html", tmp_path / "two.html"]
        for page_file in pages:
            assert cli.run(["report", "--pair", *two, "-o", str(page_file)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"report: wrote {pages[1]}"
        assert pages[0].read_bytes() == pages[1].read_bytes()
        html = pages[0].read_text(encoding="utf-8")
        assert str(here) not in html and str(tmp_path) not in html
        text, measured = Page(html).text, json.loads(Path("metrics.json").read_text())
        assert "a stand-in for real data" in text
        for name in ("auc", "accuracy", "precision", "recall", "false_accept_rate", "eer"):
            value = measured["test"][name]
            assert (f"{value:.3f}" if name == "auc" else percent(value)) in text, name
        assert f"{measured['test_low']['auc']:.3f} to {measured['test_high']['auc']:.3f}" in text
        assert f"The {measured['counts']['test']['pairs']} pairs of the test split" in text
        cli.run(["verify", *two, "--json"])
        score = json.loads(capsys.readouterr().out)["score"]
        assert f"score {score:.3f}" in text.rpartition("The pair that was given")[2]

    def test_own_threshold_and_split(self, here, tmp_path) -> None:
        page_file = tmp_path / "page.html"
        assert (
            cli.run(["report", "artifacts/model", "--threshold", "1", "--split", "validation", "-o", str(page_file)])
            == 0
        )
        text = Page(page_file.read_text(encoding="utf-8")).text
        assert "pairs of the validation split" in text and "from a score of 1 on" in text

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["nowhere"], "siamese: nowhere: no trained model here"),
            (["--split", "tests"], "siamese: --split tests: must be train, test or validation"),
            (["--pair", "nowhere.png", "nowhere.png"], "siamese: nowhere.png: can't be read"),
            (["--pairs", "nowhere.parquet"], "siamese: nowhere.parquet"),
            (["--catalog", "nowhere.parquet"], "siamese: nowhere.parquet"),
            (["--images", "nowhere"], "siamese: nowhere"),
            (["--threshold-file", "nowhere.json"], "siamese: nowhere.json is missing"),
            (["-o", "page.png"], "siamese: page.png: a page is .html"),
            (["-o", "artifacts"], "siamese: artifacts: a page is .html"),
            (["-o", "report.html"], "siamese: report.html: is there, and isn't a report of this command"),
        ],
    )
    def test_wrong_input_is_one_line(self, here, capsys, arguments: list[str], expected: str) -> None:
        before = Path("report.html").read_bytes()
        assert cli.run(["report", *arguments]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(expected)
        assert Path("report.html").read_bytes() == before and not Path("model-report.html").exists()
