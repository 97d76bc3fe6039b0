"""A model as a user holds it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import InvalidCorpus, InvalidModel, InvalidOptions
from charrnn.network.cells import GATES, forward, softmax
from charrnn.network.file import read_tensors, write_tensors
from charrnn.network.model import Model, UnknownCharacters, load
from charrnn.text.vocabulary import Vocabulary

CELLS = sorted(GATES)


@pytest.mark.parametrize("length", [0, 1, 2, 31, 32, 33, 500])
def test_generate_returns_as_many_new_characters_as_were_asked_for(model, length):
    text = model.generate("the", length=length)
    assert len(text) == length
    assert not model.unseen(text)


def test_length_counts_code_points(make_model):
    model = make_model(characters="🙂漢\u0301")
    assert len(model.generate(length=50, seed=1)) == 50
    assert {"🙂", "漢", "\u0301"} >= set(model.generate(length=50))


@pytest.mark.parametrize("cell", CELLS)
def test_temperature_zero_always_takes_the_likeliest_character(make_model, cell):
    model = make_model(cell)
    text = "the "
    for _ in range(30):
        logits = forward(model.weights, cell, model.vocabulary.encode(text)[None]).logits[0, -1]
        text += model.vocabulary.decode([1 + int(np.argmax(logits[1:]))])
    assert model.generate("the ", length=30, temperature=0) == text[4:]
    assert model.generate("the ", length=30, temperature=0, seed=3, count=2) == [text[4:]] * 2
    assert model.generate("the ", length=30, temperature=2, top_k=1) == text[4:]
    assert model.generate("the ", length=30, temperature=2, top_p=1e-9) == text[4:]


def test_of_equally_likely_characters_greedy_takes_the_one_with_the_lowest_id(make_model):
    model = make_model(characters="cab")
    weights = {name: np.zeros_like(array) for name, array in model.weights.items()}
    flat = Model(model.vocabulary, weights, model.options)
    assert flat.generate("a", length=5, temperature=0) == "ccccc"
    assert flat.generate("a", length=5, temperature=0, count=3) == ["ccccc"] * 3


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_p": 0.5}, {"temperature": 0}, {"temperature": 100}])
@pytest.mark.parametrize("count", [None, 3])
def test_the_unknown_is_never_written_however_likely_it_is(make_model, options, count):
    model = make_model(characters="abc")
    weights = {**model.weights, "output.bias": np.array([50, 0, 0, 0], np.float32)}
    sure = Model(model.vocabulary, weights, model.options)
    texts = sure.generate("a", length=100, count=count, **options)
    assert "\ufffd" not in "".join(texts)
    assert all(prediction.character != "\ufffd" for prediction in sure.predict("a"))
    assert sum(prediction.probability for prediction in sure.predict("a")) == pytest.approx(1)


def test_a_seed_writes_the_same_text_and_another_seed_another(model):
    assert model.generate("the", seed=1) == model.generate("the", seed=1)
    assert model.generate("the", seed=1) != model.generate("the", seed=2)
    assert model.generate("the") != model.generate("the")


def test_texts_written_together_are_those_written_one_by_one(model):
    together = model.generate("the", length=200, seed=4, count=5, stop="ee")
    assert together[0] == model.generate("the", length=200, seed=4, stop="ee")
    assert together[:3] == model.generate("the", length=200, seed=4, count=3, stop="ee")
    assert len(set(together)) == 5


def test_count_one_is_a_list_of_one(model):
    assert model.generate(length=5, seed=1, count=1) == [model.generate(length=5, seed=1)]


def test_a_stream_gives_the_text_that_generate_returns_in_pieces(model):
    pieces = list(model.stream("the", length=300, seed=2, stop="zz"))
    assert "".join(pieces) == model.generate("the", length=300, seed=2, stop="zz")
    assert len(pieces) > 3
    assert all(pieces)


def test_a_stream_refuses_bad_options_before_it_is_read(model):
    with pytest.raises(InvalidOptions, match="length"):
        model.stream(length=-1)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from(["a", "t", "\n", "th", " "]))
def test_the_text_ends_before_a_stop_text(model, seed, stop):
    whole = model.generate("the", length=150, seed=seed)
    ended = model.generate("the", length=150, seed=seed, stop=stop)
    assert ended == whole.split(stop)[0]
    assert "".join(model.stream("the", length=150, seed=seed, stop=[stop, "@@"])) == ended


def test_an_empty_prompt_is_read_as_a_newline_or_the_commonest_character(model, make_model):
    assert model.generate(seed=1) == model.generate("\n", seed=1)
    without = make_model(characters="eab")
    assert without.generate(seed=1) == without.generate("e", seed=1)


def test_characters_that_were_never_seen_are_read_as_unknown_and_reported(model):
    assert model.unseen("a§h¶§") == "§¶"
    for call in (
        lambda: model.generate("a§h¶", length=5, seed=1),
        lambda: "".join(model.stream("a§h¶", length=5, seed=1)),
    ):
        with pytest.warns(UnknownCharacters, match=r"'§', '¶'") as caught:
            text = call()
        assert caught[0].filename == __file__
        assert len(text) == 5
    with pytest.warns(UnknownCharacters):
        model.predict("§")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate("the", length=5)


@settings(max_examples=40)
@given(st.text(max_size=30))
def test_any_prompt_can_be_gone_on_from(model, prompt):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownCharacters)
        assert len(model.generate(prompt, length=3)) == 3
        assert len(model.score(prompt)) == len(prompt)


def test_a_lone_surrogate_in_a_prompt_is_unknown(model):
    with pytest.warns(UnknownCharacters):
        assert len(model.generate("a\ud800", length=3)) == 3


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_predict_gives_the_likeliest_characters_with_their_probabilities(model, temperature):
    predictions = model.predict("the", top=5, temperature=temperature)
    logits = forward(model.weights, model.cell, model.vocabulary.encode("the")[None]).logits[0, -1]
    shares = softmax(logits[1:].astype(np.float64) / temperature)
    best = np.argsort(-shares)[:5]
    assert [prediction.character for prediction in predictions] == [model.vocabulary.decode([1 + i]) for i in best]
    np.testing.assert_allclose([prediction.probability for prediction in predictions], shares[best], rtol=1e-4)


def test_predict_knows_no_more_characters_than_there_are(make_model):
    predictions = make_model(characters="abc").predict("a", top=10)
    assert sorted(prediction.character for prediction in predictions) == ["a", "b", "c"]
    assert [p.probability for p in make_model(characters="abc").predict("a", temperature=0)] == [1, 0, 0]
    with pytest.raises(InvalidOptions):
        make_model(characters="abc").predict("a", top=0)


def test_score_says_what_every_character_costs(model):
    score = model.score("the §eat")
    assert score.characters == "the §eat"
    assert score.unknown == 1
    assert np.isnan(score[0])
    assert np.isnan(score[4])
    logits = forward(model.weights, model.cell, model.vocabulary.encode("the")[None]).logits[0, -1]
    expected = -np.log(softmax(logits.astype(np.float64))[model.vocabulary.encode(" ")[0]])
    assert score[3] == pytest.approx(expected, abs=1e-5)
    array = np.asarray(score)
    assert array.shape == (8,)
    assert score.nats_per_character == pytest.approx(np.nanmean(array))
    assert list(score)[1] == array[1]
    assert "8 characters" in repr(score)


def test_score_of_nothing_and_of_one_character(model):
    assert len(model.score("")) == 0
    assert np.isnan(np.asarray(model.score("a"))).tolist() == [True]
    assert np.isnan(model.score("a").nats_per_character)


def test_evaluating_a_file_agrees_with_the_score_of_its_text(model, tmp_path):
    text = "the eat\nhat §ear. " * 40
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    result = model.evaluate(tmp_path / "text.txt")
    score = model.score(text)
    assert result.nats_per_character == pytest.approx(score.nats_per_character, abs=1e-5)
    assert (result.characters, result.unknown) == (len(text) - 1 - 40, 40)


def test_evaluating_what_is_no_text_names_the_file(model, tmp_path):
    path = tmp_path / "text.txt"
    for content in (b"\xff\xfe\x00", b"", b"\xc2\xa7\xc2\xb6"):
        path.write_bytes(content)
        with pytest.raises(InvalidCorpus, match=r"text\.txt"):
            model.evaluate(path)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 8])
def test_a_model_is_the_same_after_saving_and_loading(make_model, tmp_path, cell, embedding_size):
    model = make_model(cell, embedding_size=embedding_size)
    model.record.update(step=7, finished=True, best_validation_loss=1.25, source_name="a<b>.txt")
    model.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert loaded.vocabulary == model.vocabulary
    assert (loaded.options, loaded.record, loaded.finished) == (model.options, model.record, True)
    for name, array in model.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array)
    assert loaded.generate("the", seed=1) == model.generate("the", seed=1)
    assert loaded.parameters == sum(array.size for array in model.weights.values())


def test_a_model_shows_itself_in_a_line_and_in_a_table(make_model):
    model = make_model("gru")
    assert repr(model).startswith("<charrnn.Model gru 2x20, ")
    assert "training not finished" in repr(model)
    model = Model(model.vocabulary, model.weights, model.options, {
        "finished": True, "best_validation_loss": 1.25, "source_name": "<script>", "step": 1000,
    })  # fmt: skip
    assert repr(model).endswith("validation loss 1.2500>")
    assert "&lt;script&gt;" in model._repr_html_()
    assert "<script>" not in model._repr_html_()
    model = Model(model.vocabulary, model.weights, model.options, {
        "train_loss": 1.5, "samples": [{"step": 0, "text": "zq"}, {"step": 9, "text": "<b>the & cat" + "!" * 900}],
    })  # fmt: skip
    shown = model._repr_html_()
    assert "1.5000" in shown
    assert "&lt;b&gt;the &amp; cat!" in shown
    assert "zq" not in shown
    assert len(shown) < 2_000
    for odd in ([], "text", [5], [{}], [{"text": 5}]):
        assert "<pre" not in Model(model.vocabulary, model.weights, model.options, {"samples": odd})._repr_html_()
    Model(model.vocabulary, model.weights, model.options, {"step": "x", "best_validation_loss": "y"})._repr_html_()


def test_weights_cannot_be_changed_by_accident(model):
    with pytest.raises(ValueError, match="read-only"):
        model.weights["output.bias"][0] = 1


def save_changed(model, path, **changes):
    model.save(path)
    tensors, metadata = read_tensors(path)
    metadata.pop("format_version")
    for key, value in changes.items():
        if value is None:
            metadata.pop(key)
        else:
            metadata[key] = value
    write_tensors(path, tensors, metadata)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": None}, "no options"),
        ({"options": []}, "no options"),
        ({"options": {}}, "no cell"),
        ({"options": {"cell": ["lstm"]}}, "no cell"),
        ({"options": {"cell": "tree"}}, "no cell"),
        ({"options": {"cell": "lstm", "rnn_size": 20, "num_layers": 2, "embedding_size": "8"}}, "embedding_size"),
        ({"options": {"cell": "lstm", "rnn_size": 20, "num_layers": 10**9, "embedding_size": 8}}, "num_layers"),
        ({"options": {"cell": "lstm", "rnn_size": True, "num_layers": 2, "embedding_size": 8}}, "rnn_size"),
        ({"options": {"cell": "lstm", "rnn_size": 21, "num_layers": 2, "embedding_size": 8}}, "is right"),
        ({"options": {"cell": "lstm", "rnn_size": 20, "num_layers": 3, "embedding_size": 8}}, "no array"),
        ({"options": {"cell": "lstm", "rnn_size": 20, "num_layers": 1, "embedding_size": 8}}, "does not belong"),
        ({"options": {"cell": "gru", "rnn_size": 20, "num_layers": 2, "embedding_size": 8}}, "no array"),
        ({"gates": ["forget", "input", "candidate", "output"]}, "another order"),
        ({"gates": None}, "another order"),
        ({"record": 3}, "no options or no record"),
        ({"vocabulary": None}, "vocabulary"),
        ({"vocabulary": {"characters": "aa"}}, "twice"),
        ({"vocabulary": {"characters": "abc"}}, "is right"),
        ({"vocabulary": {"characters": 3}}, "vocabulary"),
        ({"kind": "checkpoint"}, "a model is needed"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused_with_the_reason(model, tmp_path, changes, words):
    path = tmp_path / "m.safetensors"
    save_changed(model, path, **changes)
    with pytest.raises(InvalidModel, match=words) as error:
        load(path)
    assert str(path) in str(error.value)


def test_weights_of_another_dtype_are_refused(model, tmp_path):
    weights = {**model.weights, "output.bias": model.weights["output.bias"].astype(np.float64)}
    with pytest.raises(InvalidModel, match="float64"):
        Model(model.vocabulary, weights, model.options)


def test_interrupting_a_stream_leaves_the_model_usable(model):
    stream = model.stream("the", length=10_000)
    next(stream)
    stream.close()
    assert len(model.generate("the", length=10)) == 10


def test_a_model_can_be_shared_by_threads(make_model):
    model = make_model(rnn_size=30)
    texts = []
    workers = [threading.Thread(target=lambda: texts.append(model.generate("a", seed=1, count=2))) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(text == texts[0] for text in texts)


def test_writing_imports_nothing_slow(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    script = f"""
import json, sys
from charrnn.network.model import load
load({str(tmp_path / "m.safetensors")!r}).generate("the", length=10, seed=1)
print(json.dumps(sorted(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(json.loads(run.stdout))
    assert not modules & {"tensorflow", "pydantic", "threadpoolctl", "typer", "sqlalchemy", "keras"}


def test_a_vocabulary_of_forty_thousand_characters_is_written_with():
    characters = "".join(map(chr, range(0x4E00, 0x9F00))) + "".join(map(chr, range(0xAC00, 0xD7A0)))
    model = Model.initial("lstm", Vocabulary(characters), embedding_size=4, rnn_size=8)
    assert len(model.generate("一丁", length=5, seed=1)) == 5
    assert len(set(model.generate("一丁", length=200))) > 50
