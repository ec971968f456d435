"""The one definition of preprocessing: encoded images to pixels, and pixels to what the network sees.

TensorFlow Transform analyses and saves it as a single graph, from bytes through pixels to images. `Transform` cuts that
graph at its tensor `pixels`: stored pixels enter at the cut, and get the numbers that the bytes would have got.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from siamese.errors import InputError

ENCODED, PIXELS, IMAGE = "encoded", "pixels", "image"  # the input and the outputs, and the tensors where they begin
_LUMA = [0.299, 0.587, 0.114]  # ITU-R BT.601, as JPEG weighs red, green and blue
_DECODED_AT_ONCE = 8  # a large photograph takes some 50 MB while it is decoded


class Transform(tf.Module):
    """The two functions of a saved transform graph. Neither has state: what was analysed is constant in them.

    `image_shape`: height, width and channels of what the network sees. `pixels`: encoded images, string [n] as
    `siamese.data.images.formats.canonical` gives them, to uint8 [n, *image_shape]. `image`: pixels, uint8 [n,
    *image_shape], to float32 of the same shape, in [0, 1] unless standardised.
    """

    def __init__(self, whole: Any) -> None:
        """From the graph as a function that TensorFlow loaded."""
        super().__init__()
        height, width, channels = whole.graph.get_tensor_by_name(f"{PIXELS}:0").shape[1:]
        self.image_shape: tuple[int, int, int] = height, width, channels
        encoded = tf.TensorSpec([None], tf.string, ENCODED)
        pixels = tf.TensorSpec([None, height, width, channels], tf.uint8, PIXELS)
        self.pixels = tf.function(_part(whole, ENCODED, PIXELS), input_signature=[encoded], autograph=False)
        self.image = tf.function(_part(whole, PIXELS, IMAGE), input_signature=[pixels], autograph=False)

    @classmethod
    def load(cls, folder: Path) -> Transform:
        """The transform that step `preprocess` wrote to `folder`. Needs TensorFlow, not TensorFlow Transform.

        Raises:
            InputError: there is none.
        """
        try:
            return cls(tf.saved_model.load(str(folder / "transform_fn")).transform_fn)
        except (OSError, AttributeError, KeyError, ValueError, tf.errors.OpError):
            raise InputError(f"{folder} holds no transform: run `siamese preprocess`, or name another folder") from None

    @classmethod
    def unstandardised(cls, image_shape: tuple[int, int, int]) -> Transform:
        """The transform that step `preprocess` writes for whole images where it analyses nothing: its defaults.

        Args:
            image_shape: height, width and channels of what the network sees.
        """
        whole = tf.function(partial(preprocessing_fn, crop=1.0, standardise=False, image_shape=image_shape))
        return cls(whole.get_concrete_function({ENCODED: tf.TensorSpec([None], tf.string)}))


def preprocessing_fn(
    inputs: dict[str, Any], *, crop: float, standardise: bool, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """The graph, as TensorFlow Transform asks for it.

    Args:
        inputs: {"encoded": string [n]}, PNG or JPEG.
        crop: share of each side that is kept, around the middle.
        standardise: subtract the mean of the analysed images and divide by their deviation, both a channel.
        image_shape: height, width and channels of what the network sees; 1 channel is grey.

    Returns:
        {"pixels": string [n], the bytes of uint8 [*image_shape]; "image": float32 [n, *image_shape]}.
    """
    # TensorFlow Transform writes no uint8 columns, and int64 would be eight times as large: one string an image.
    encoded = tf.identity(inputs[ENCODED], name=ENCODED)
    stored = tf.map_fn(
        lambda one: _to_bytes(_decode(one, crop, image_shape), image_shape),
        encoded,
        fn_output_signature=tf.TensorSpec([], tf.string),
        parallel_iterations=_DECODED_AT_ONCE,
    )
    pixels = tf.reshape(tf.io.decode_raw(stored, tf.uint8), [-1, *image_shape], name=PIXELS)
    # Where a divisor is constant, TensorFlow may multiply by its inverse, in some programs and not in others, and the
    # last digit differs; it leaves divide_no_nan alone. A channel that is constant, of deviation 0, becomes 0.
    image = tf.math.divide_no_nan(tf.cast(pixels, tf.float32), 255)
    if standardise:
        mean, deviation = _analysed(pixels)
        image = tf.math.divide_no_nan(image - mean, deviation)
    return {PIXELS: stored, IMAGE: tf.identity(image, name=IMAGE)}


def _decode(encoded: Any, crop: float, image_shape: tuple[int, int, int]) -> Any:
    """One encoded image, a string scalar, to uint8 [*image_shape]: decoded, cropped, resized with antialiasing,
    rounded."""
    image = _full_size(encoded)
    if crop < 1:
        image = _middle(image, crop)
    resized = tf.image.resize(image, image_shape[:2], method="bilinear", antialias=True)
    if image_shape[2] == 1:
        resized = tf.tensordot(resized, tf.constant(_LUMA), 1)[..., None]
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def _full_size(encoded: Any) -> Any:
    """One encoded image, a string scalar, to uint8 [height, width, 3]."""
    # Despite its name it reads PNG too. The default transform of JPEG is 5 grey levels and more from the standard's.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _middle(image: Any, crop: float) -> Any:
    """The middle of an image, [height, width, 3]: of either side the share `crop`, in whole pixels, one at least."""
    sides = tf.shape(image)[:2]
    kept = tf.maximum(tf.cast(tf.round(tf.cast(sides, tf.float32) * crop), tf.int32), 1)
    top, left = tf.unstack((sides - kept) // 2)
    return image[top : top + kept[0], left : left + kept[1]]


def _to_bytes(pixels: Any, image_shape: tuple[int, int, int]) -> Any:
    # A serialised TensorProto ends with the tensor's bytes.
    size = math.prod(image_shape)
    return tf.strings.substr(tf.io.serialize_tensor(pixels), -size, size)


def _analysed(pixels: Any) -> tuple[Any, Any]:
    """Mean and deviation of each channel over the analysed images, as shares of 255: float32 [*image_shape] each.

    Sums of integers are exact, so neither sharding nor order changes a digit: mean = S1/n, variance = S2/n - mean².
    """
    import tensorflow_transform as tft

    def total(values: Any) -> Any:
        an_image = tf.reduce_sum(values, [1, 2])  # of squares: below 2**30
        return tf.cast(tft.sum(tf.cast(an_image, tf.int64), reduce_instance_dims=False), tf.float64)

    values = tf.cast(pixels, tf.int32)
    count, sums, squares = total(tf.ones_like(values)), total(values), total(values * values)
    mean = sums / count
    deviation = tf.sqrt(tf.maximum(squares / count - mean * mean, 0))
    # Subtracting whole images is ten times as fast on a processor as subtracting three numbers from every pixel.
    in_shares = [tf.broadcast_to(tf.cast(one / 255, tf.float32), pixels.shape[1:]) for one in (mean, deviation)]
    return in_shares[0], in_shares[1]


def _part(whole: Any, start: str, end: str) -> Callable[[Any], Any]:
    """What a loaded function makes of images between its tensors `start` and `end`, to be called while tracing."""
    definition = whole.graph.as_graph_def()
    dtype = whole.graph.get_tensor_by_name(f"{start}:0").dtype
    for node in definition.node:
        if node.name == start:
            node.CopyFrom(tf.compat.v1.NodeDef(name=start, op="Placeholder"))
            node.attr["dtype"].type = dtype.as_datatype_enum
    part = tf.compat.v1.graph_util.extract_sub_graph(definition, [end])
    names = {node.name for node in part.node}

    def traced(fed: Any) -> Any:
        # `whole` must live as long as this: TensorFlow forgets the inner functions of a function that is gone.
        captures = [(inner, outer) for outer, inner in whole.graph.captures if inner.op.name in names]
        feeds = {f"{start}:0": fed} | {inner.name: tf.constant(outer.numpy()) for inner, outer in captures}
        [computed] = tf.graph_util.import_graph_def(part, feeds, [f"{end}:0"], name="")
        return tf.ensure_shape(computed, whole.graph.get_tensor_by_name(f"{PIXELS}:0").shape)

    return traced
