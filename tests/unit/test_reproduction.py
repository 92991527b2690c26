"""The reproduction itself: an experiment run to its end with a tiny network, its result, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reproduction import page, results
from benchmarks.reproduction.catalogue import EXPERIMENTS, GROUPS, Experiment, Sources, chosen
from streamfer.errors import UsageError
from streamfer.training import dataset, datasets, recipe
from streamfer.training.dataset import PUBLIC, Dataset
from streamfer.training.metrics import text
from streamfer.training.run import RunFolder
from tests.datasets import shared
from tests.training import Silent, faces, write_recipe

ROOT = Path(__file__).parents[2]
DOCUMENT = """# A page

prose

<!-- results: rows -->
<!-- /results -->

<!-- results: runs -->
<!-- /results -->
"""


def experiment(folder: Path, name: str = "tiny", **changes: Any) -> Experiment:
    """A run of a few seconds on the synthetic faces."""
    settings = {"epochs": 1, "warmup_epochs": 0, "early_stopping": 3, "augment": {"erase": 0.0}} | changes
    path = write_recipe(folder / "recipes" / name, **settings)
    return Experiment(name, f"the {name} one", "rows", path, lambda sources: sources.fer2013, 0.5, "12.3 %")


def arguments(folder: Path, *more: str) -> list[str]:
    """The command's options, all in one folder; the data is written there first."""
    data, document = folder / "faces.npz", folder / "page.md"
    if not data.exists():
        dataset.save(faces(), data)
        document.write_text(DOCUMENT, "utf-8")
    options = {"--data": data, "--runs": folder, "--results": folder / "results.json", "--document": document}
    return [*more, *(str(part) for option in options.items() for part in option)]


# ---- the catalogue


def test_names_and_groups_choose_experiments() -> None:
    assert chosen([], EXPERIMENTS) == list(EXPERIMENTS)
    assert [one.name for one in chosen(["mobilenet", "cnn"], EXPERIMENTS)] == [
        "cnn",
        "mobilenet-0.999",
        "mobilenet-0.9",
    ]
    with pytest.raises(UsageError, match="cnnn: no experiment and no group"):
        chosen(["cnnn"], EXPERIMENTS)


def test_every_experiment_has_a_recipe_a_group_and_a_cost_and_every_recipe_an_experiment() -> None:
    assert len({one.name for one in EXPERIMENTS}) == len(EXPERIMENTS)
    assert not {one.name for one in EXPERIMENTS} & GROUPS.keys()
    assert {one.group for one in EXPERIMENTS} == GROUPS.keys()
    assert all(one.minutes > 0 for one in EXPERIMENTS)
    folder = ROOT / "configs/train/reproduction"
    assert {one.recipe for one in EXPERIMENTS} == set(folder.glob("*.yaml"))


def test_the_two_of_a_comparison_differ_in_the_network_alone() -> None:
    recipes = {one.name: one.load_recipe() for one in EXPERIMENTS}

    def differing(one: str, other: str) -> set[str]:
        a, b = (recipes[name].model_dump() for name in (one, other))
        return {key for key in a if a[key] != b[key]}

    for one, other in (("cnn", "cnn_lstm"), ("small-cnn-clean", "bilstm-clean")):
        assert differing(one, other) == {"classifier", "model"}
    assert differing("bilstm-clean", "bilstm-duplicates") == set()
    assert differing("mobilenet-0.9", "mobilenet-0.999") == {"model"}


def test_ckplus_is_asked_for_where_it_is_needed() -> None:
    with pytest.raises(UsageError, match="--ckplus FILE"):
        _ = Sources(faces()).ckplus


# ---- results


def test_results_of_several_runs_stand_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert results.read(path) == {}
    for name in ("b", "a", "b"):
        results.add(name, {"of": name}, path)
    assert results.read(path) == {"a": {"of": "a"}, "b": {"of": "b"}}


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other", "results": {}}'])
def test_damaged_results_are_one_line_and_are_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        results.add("a", {}, path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert path.read_text() == content


# ---- the page


def test_what_is_not_run_says_so_and_what_it_would_cost(tmp_path: Path) -> None:
    written = page.filled(DOCUMENT, [experiment(tmp_path, epochs=50)], {})
    assert "| the tiny one | 12.3 % | not run: at most 50 epochs of 30 s, 25 min |" in written
    assert page.filled(written, [experiment(tmp_path, epochs=50)], {}) == written
    assert written.startswith("# A page\n\nprose\n\n<!-- results: rows -->\n")


def test_a_table_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match="results: cows"):
        page.filled(DOCUMENT.replace("rows", "cows"), [], {})


def test_the_page_of_the_project_is_that_of_its_results() -> None:
    document = page.DOCUMENT.read_text("utf-8")
    assert page.filled(document, EXPERIMENTS, results.read()) == document, (
        "python -m benchmarks.reproduction --page"
    )
    for name in (*GROUPS, "runs"):
        assert f"<!-- results: {name} -->" in document


def test_the_results_of_the_project_are_of_its_recipes() -> None:
    by_name = {one.name: one for one in EXPERIMENTS}
    for name, result in results.read().items():
        settings = recipe.Recipe.model_validate(result["settings"])
        one = by_name[name]
        if page.is_broken_off(one, result):
            one = replace(one, epochs=settings.epochs)
        assert settings == one.load_recipe(), f"run {name} again"


def test_the_results_of_the_project_are_of_the_data_that_its_code_makes() -> None:
    """Without those that know their faces, which take a minute to find."""
    found = results.read()
    quick = [one for one in EXPERIMENTS if one.group in ("rows", "stacked") and one.name in found]
    if not quick:
        pytest.skip("none of the quick ones has a result yet")
    sources = Sources(*(datasets.load(shared(name)) for name in ("fer2013.npz", "ckplus48.npz")))
    for one in quick:
        assert one.data(sources).sha256 == found[one.name]["data"]["sha256"], f"run {one.name} again"


# ---- a run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the command ran one experiment, of which another had run an epoch before."""
    pytest.importorskip("tensorflow", reason="needs streamfer[train]")
    from benchmarks.reproduction.__main__ import main
    from streamfer.training.train import train

    folder = tmp_path_factory.mktemp("reproduction")
    options = arguments(folder)
    train(experiment(folder).load_recipe(), faces(), folder / "tiny", Silent())
    (folder / "first.csv").write_text((folder / "tiny/history.csv").read_text())
    main(options, (experiment(folder, epochs=2), experiment(folder, "later")))
    return folder


def test_a_run_goes_on_where_it_was_stopped(done: Path) -> None:
    first, both = (
        (done / name).read_text("utf-8").splitlines() for name in ("first.csv", "tiny/history.csv")
    )
    assert both[:2] == first and len(both) == 3


def test_a_result_tells_what_was_run_and_what_came_of_it(done: Path) -> None:
    found = results.read(done / "results.json")
    data = faces()
    result = found["tiny"]
    assert found.keys() == {"tiny", "later"}
    assert (result["epochs"], result["recipe"], result["sources"]) == (2, "tiny", {"fer2013": data.sha256})
    assert result["data"]["sha256"] == data.sha256
    assert result["data"]["rows"] == {"Training": 80, "PublicTest": 20, "PrivateTest": 40}
    taken = RunFolder(done / "tiny").history()[result["epoch_taken"] - 1]
    assert result["validation"]["accuracy"]["value"] == pytest.approx(taken["PublicTest"], abs=1e-4)
    assert result["validation"]["n"] == 20 and result["test"]["n"] == 40
    assert result["test"]["accuracy"]["low"] < result["test"]["accuracy"]["high"]
    assert result["test_unseen"]["n"] == 39, "one PrivateTest row repeats a Training row"
    assert result["seconds"] > 0 and result["machine"] and result["versions"]["keras"]


def test_the_page_follows_the_results(done: Path) -> None:
    written = (done / "page.md").read_text("utf-8")
    figures = results.read(done / "results.json")["tiny"]["validation"]["accuracy"]
    assert f"| the tiny one | 12.3 % | {text(figures)} |" in written
    assert "not run" not in written and "prose" in written


def test_what_has_a_result_is_not_run_again(
    done: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from benchmarks.reproduction.__main__ import main

    before = json.loads((done / "results.json").read_text())
    ready = experiment(done, epochs=2)
    main(arguments(done), (ready, experiment(done, "later")))
    assert "tiny: has a result already" in capsys.readouterr().err
    assert json.loads((done / "results.json").read_text()) == before


def test_another_recipe_or_other_data_is_not_done(done: Path) -> None:
    from benchmarks.reproduction.running import is_done

    result, sources = results.read(done / "results.json")["tiny"], Sources(faces())
    assert is_done(experiment(done, epochs=2), sources, result)
    assert not is_done(experiment(done, epochs=3), sources, result)
    assert not is_done(experiment(done, epochs=2), Sources(faces(seed=4)), result)
    assert not is_done(experiment(done, epochs=2), sources, None)


def test_a_run_can_be_broken_off_and_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorflow", reason="needs streamfer[train]")
    from benchmarks.reproduction.__main__ import main

    one = experiment(tmp_path, epochs=3, early_stopping=0)

    def after(*more: str) -> tuple[dict[str, Any], str]:
        main(arguments(tmp_path, *more), (one,))
        page = (tmp_path / "page.md").read_text("utf-8")
        return results.read(tmp_path / "results.json")["tiny"], page

    cut, written = after("--epochs", "2")
    assert (cut["epochs"], cut["settings"]["epochs"]) == (2, 2)
    assert "| the tiny one, broken off after 2 of at most 3 epochs | 12.3 % | " in written
    assert after("--epochs", "2")[0] == cut
    assert "has a result already" in capsys.readouterr().err
    whole, written = after()
    assert (whole["epochs"], whole["settings"]["epochs"]) == (3, 3)
    assert "| the tiny one | 12.3 % | " in written and "broken off" not in written
    assert after("--epochs", "2")[0] == whole, "what is complete is kept"


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_a_run_of_no_epochs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    from benchmarks.reproduction.__main__ import main

    with pytest.raises(SystemExit) as raised:
        main(["--epochs", number], (experiment(tmp_path),))
    assert raised.value.code == 2
    assert f"argument --epochs: got {number}, expected a number of at least 1" in capsys.readouterr().err


def test_without_ckplus_its_experiments_are_left_out_unless_they_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow", reason="needs streamfer[train]")
    from benchmarks.reproduction.__main__ import main

    path = write_recipe(tmp_path / "recipes")
    needs = Experiment("both", "both", "rows", path, lambda sources: sources.ckplus, 1, needs_ckplus=True)
    main(arguments(tmp_path), (needs,))
    assert "both: left out, it needs --ckplus FILE" in capsys.readouterr().err
    assert results.read(tmp_path / "results.json") == {}
    with pytest.raises(UsageError, match="--ckplus FILE"):
        main(arguments(tmp_path, "both"), (needs,))


def test_a_network_is_measured_by_its_own_answers(done: Path) -> None:
    import keras

    from benchmarks.reproduction.running import probabilities

    data: Dataset = faces()
    model = keras.models.load_model(done / "tiny/model.keras", compile=False)
    answers = probabilities(model, data, data.rows(PUBLIC))
    assert answers.shape == (20, 7) and answers.sum(axis=1) == pytest.approx(1, abs=1e-5)
    right = (answers.argmax(axis=1) == data.labels[data.rows(PUBLIC)]).mean()
    told = results.read(done / "results.json")["tiny"]["validation"]["accuracy"]["value"]
    assert right == pytest.approx(told)
