"""The report: one file, readable offline, that shows what was measured and escapes what it is given."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from page_reader import Page
from PIL import Image
from small_evaluation import HISTORY, PARAMS, Constant, Means, Oracle, world

from siamese.evaluation import example_pairs, report
from siamese.evaluation.measurement import Evaluation, measure_model
from siamese.reporting import charts
from siamese.reporting.pages import Markup, element


def measured(scorer=None, **drawn) -> tuple[Evaluation, object]:
    made = world(**drawn)
    return measure_model(made.catalog, made.pairs, scorer or Means(), made, PARAMS), made


MEASURED, WORLD = measured()
TRAINED = pd.read_csv(io.StringIO(HISTORY))


def rendered(result=MEASURED, images=WORLD, history=TRAINED, note=None, settings=None, unseen=True) -> str:
    return report.render(result, images, history, PARAMS, note, settings, unseen)


def test_it_needs_nothing_but_itself() -> None:
    """No address, no script, no file: sources are data URIs, styles name no address."""
    html = rendered(note="A note.")
    page = Page(html)
    outside = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<iframe", outside)
    assert not {name for name, _ in page.attributes} & {"href", "xlink:href", "srcset", "onload"}
    sources = [value for name, value in page.attributes if name == "src"]
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)


def test_what_a_user_provides_is_shown_and_never_run() -> None:
    name = "<script>alert('{}')</script>&\"><img src=x onerror=y>"
    result, made = measured(names=name)
    page = Page(rendered(result, made, note="<b>note</b> & more", settings={"data": {"path": "<script>"}}))
    assert not {"script"} & set(page.tags)
    assert not {"onerror"} & {attribute for attribute, _ in page.attributes}
    assert "<script>alert('" in page.text and "<b>note</b> & more" in page.text
    assert "<script>" in [value for value in page.text.split(" ") if value]


def test_equal_input_gives_equal_text() -> None:
    assert rendered() == rendered()


def test_headline_figures_and_intervals_are_those_measured() -> None:
    text = Page(rendered()).text
    model, baseline = MEASURED.model, MEASURED.baseline
    low, high = model.intervals["eer"]
    assert f"judged {100 * model.values['accuracy']:.1f}\u00a0% of them rightly" in text
    assert f"{100 * low:.1f}\u00a0% to {100 * high:.1f}\u00a0%" in text
    assert f"raw pixels: {baseline.values['auc']:.3f}" in text
    assert "6 identities that training never saw" in text
    assert "From so few identities intervals are rough" in text


def test_every_metric_is_listed_with_what_it_means_or_why_it_is_missing() -> None:
    text = Page(rendered()).text
    for name, (title, meaning) in report.MEANINGS.items():
        assert title in text and meaning in text, name
    assert "No value: needs 1,000 negative pairs, there are 135." in text
    assert set(report.MEANINGS) == set(MEASURED.model.values)


def test_every_chart_is_there_and_says_what_it_is() -> None:
    labels = [value for name, value in Page(rendered()).attributes if name == "aria-label"]
    assert [label.split(":")[0] for label in labels] == [
        "ROC",
        "Scores of the test pairs",
        "Calibration",
        "Training",
        "Training",
    ]


def test_without_a_history_there_are_no_training_curves_and_it_says_so() -> None:
    page = Page(rendered(history=None))
    assert page.tags.count("svg") == 3
    assert "No history of training" in page.text


def test_the_note_stands_on_top() -> None:
    text = Page(rendered(note="These images are a stand-in.")).text
    assert text.index("These images are a stand-in.") < text.index("In short")


def test_parameters_seeds_and_the_split_are_told() -> None:
    text = Page(rendered(settings={"train": {"optimizer": {"name": "adam"}, "epochs": 50}})).text
    assert "train.optimizer.name" in text and "train.epochs" in text
    assert "Seed of resamples and trials: 0" in text
    assert "Split by identity" in text and "fewer than 100" in text
    assert "evaluate.bootstrap" in Page(rendered()).text


def test_splits_that_a_list_gave_are_told() -> None:
    text = Page(rendered(settings={"catalog": {"splits": "protocol/mine.csv"}})).text
    assert "protocol/mine.csv, in the folder of images, lists where each lies." in text
    assert "added later may move" not in text


def test_role_folders_are_told_apart() -> None:
    text = Page(rendered(*measured(roles=True))).text
    assert "Split by image, within each role" in text
    assert "All pairs that are the same show one target" in text
    assert "Not measured: 5-way needs 5 identities" in text


class TestPictures:
    def test_the_most_extreme_of_each_kind_are_chosen(self) -> None:
        """Against sorting all pairs by hand: the first pair of each kind is its extreme; none shows an image twice."""
        test, scores = MEASURED.test, MEASURED.model.scores
        same = scores >= np.float32(MEASURED.model.threshold.threshold)
        true = test.label.to_numpy() == 1
        chosen = example_pairs.choose(MEASURED)
        assert scores[chosen["clearest_same"][0]] == scores[true & same].max()
        assert scores[chosen["clearest_different"][0]] == scores[~true & ~same].min()
        assert scores[chosen["false_accepts"][0]] == scores[~true & same].max()
        assert scores[chosen["false_rejects"][0]] == scores[true & ~same].min()
        for kind, rows in chosen.items():
            shown = [*test.anchor_id.iloc[rows], *test.other_id.iloc[rows]]
            assert 0 < len(rows) <= example_pairs.SHOWN and len(set(shown)) == len(shown), kind

    def test_they_are_the_stored_pixels(self) -> None:
        row = example_pairs.choose(MEASURED)["clearest_same"][0]
        first = next(value for name, value in Page(rendered()).attributes if name == "src")
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(first.split(",")[1]))))
        np.testing.assert_array_equal(decoded, WORLD.drawn[MEASURED.test.anchor_id[row]])

    def test_each_says_score_truth_and_judgement(self) -> None:
        row = example_pairs.choose(MEASURED)["false_accepts"][0]
        text = Page(example_pairs.gallery(MEASURED, WORLD)).text
        pair = MEASURED.test.iloc[row]
        expected = f"score {MEASURED.model.scores[row]:.3f} truth: different judged: same"
        assert f"{expected} {pair.anchor_identity} / {pair.other_identity}" in text

    def test_where_there_are_none_it_says_so(self) -> None:
        text = Page(rendered(*measured(Oracle(), marked=True))).text
        assert "None: no pair of different identities was judged the same." in text
        assert "None: every pair of the same identity was judged the same." in text
        assert "if one identity in 2 caused mistakes, 6 identities would still show none" in text


def test_a_model_that_may_have_seen_the_test_images_is_not_said_never_to_have() -> None:
    doubt = "it is unknown whether this model was trained on the images that measure it"
    claims = ("that training never saw", "was used for nothing else")
    known, unknown = Page(rendered()).text, Page(rendered(unseen=False)).text
    assert doubt in unknown and not any(claim in unknown for claim in claims)
    assert doubt not in known and all(claim in known for claim in claims)


def test_a_model_that_never_says_same_is_reported() -> None:
    text = Page(rendered(*measured(Constant(0.5)))).text
    assert "It judged no pair the same" in text and "nan" not in text.lower()


def test_a_model_worse_than_pixels_is_called_unfit(monkeypatch) -> None:
    result, made = measured(Constant(0.5))
    result = Evaluation(**{**vars(result), "eer_gain": (-0.2, (-0.3, -0.1))})
    assert "worse than raw pixels by 20.0 percentage points: it isn't fit for use" in Page(rendered(result, made)).text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 50, [0, 10, 20, 30, 40, 50]),
        (0, 0.13, [0, 0.05, 0.1]),
        (0, 3, [0, 1, 2, 3]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert charts.nice_ticks(low, high) == ticks


def test_a_line_breaks_where_a_value_is_missing() -> None:
    """Epochs 1, 3 and 4 have a value, 2 has none: a point, a gap, a line."""
    line = charts.Line("", "#000", [1, 2, 3, 4], [0.5, np.nan, 0.5, 0.5])
    assert re.findall("[ML]", line.draw(lambda x: x, lambda y: y)) == ["M", "M", "L"]


def test_elements_escape_text_and_attributes_but_not_elements() -> None:
    inner = element("b", "1 < 2")
    assert element("p", inner, " & ", title='"') == '<p title="&quot;"><b>1 &lt; 2</b> &amp; </p>'
    assert isinstance(inner, Markup)
