"""Names of functions in a SavedModel: the same ones, whatever the process had traced before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from siamese.preprocessing import saved_model


def test_numbers_begin_at_0_for_each_name_in_the_order_in_which_they_were_given() -> None:
    """By number, not by letters: 9 came before 10."""
    names = ["__inference_f_10", "__inference_f_9", "while_body_77", "plain", "__inference_g_2_11"]
    assert saved_model.settled(names) == {
        "__inference_f_9": "__inference_f_0",
        "__inference_f_10": "__inference_f_1",
        "while_body_77": "while_body_0",
        "__inference_g_2_11": "__inference_g_2_0",
    }


def test_every_entry_of_a_map_is_kept_where_new_names_are_old_names_of_others(tmp_path: Path) -> None:
    """f_5 to f_24 become f_0 to f_19, whatever the order in which the map, which has none, gives them."""
    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add()
    for number in range(5, 25):
        graph.graph_def.library.function.add().signature.name = f"f_{number}"
        graph.object_graph_def.concrete_functions[f"f_{number}"].bound_inputs.append(number)
        graph.signature_def["serve"].inputs[f"f_{number}"].name = f"f_{number}:0"
    file = tmp_path / "saved_model.pb"
    file.write_bytes(model.SerializeToString())
    saved_model.settle(file)
    made = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0]
    functions, inputs = made.object_graph_def.concrete_functions, made.signature_def["serve"].inputs
    assert {name: list(of.bound_inputs) for name, of in functions.items()} == {f"f_{n}": [n + 5] for n in range(20)}
    assert {name: of.name for name, of in inputs.items()} == {f"f_{n}": f"f_{n}:0" for n in range(20)}


def test_one_model_saved_twice_is_the_same_file_and_still_computes(tmp_path: Path) -> None:
    """A loop that doubles x three times, saved again after the process has traced it anew: 2 x 2 x 2 x 5 = 40."""

    def saved(folder: Path) -> bytes:
        module = tf.Module()
        module.eightfold = tf.function(
            lambda x: tf.while_loop(lambda n, _: n < 3, lambda n, y: (n + 1, 2 * y), (0, x))[1],
            input_signature=[tf.TensorSpec([], tf.float32, "x")],
        )
        tf.saved_model.save(module, str(folder), signatures=module.eightfold)
        saved_model.settle(folder / "saved_model.pb")
        return (folder / "saved_model.pb").read_bytes()

    assert saved(tmp_path / "first") == saved(tmp_path / "second")
    loaded = tf.saved_model.load(str(tmp_path / "second"))
    assert np.array_equal(loaded.eightfold(tf.constant(5.0)), 40.0)
    [answer] = loaded.signatures["serving_default"](x=tf.constant(5.0)).values()
    assert np.array_equal(answer, 40.0)
