"""The pipeline's wiring: which step's outputs are which step's inputs. What a step does stands in `components/`."""

from typing import Any

from kfp import dsl

from components.catalog import catalog
from components.choose import choose
from components.data_version import data_version
from components.evaluate import evaluate
from components.fetch_data import fetch_data
from components.notify import notify
from components.pairs import pairs
from components.preprocess import preprocess
from components.promote import promote
from components.register import register
from components.train import train
from components.train_on_workers import train_on_workers
from pipelines.cluster import Cluster, apply, look_of_workers
from siamese.params import Params

NAME = "siamese"


def build(cluster: Cluster, defaults: Params) -> dsl.base_component.BaseComponent:
    """The pipeline, for a cluster.

    Args:
        cluster: how the steps run.
        defaults: of the pipeline's parameters.
    """
    given = defaults.model_dump()

    def step(name: str, task: dsl.PipelineTask, *, cached: bool) -> dsl.PipelineTask:
        task.set_display_name(name).set_caching_options(cached)
        return apply(task, name, cluster)

    def brought(repository: Any, revision: Any, data_path: Any) -> tuple[Any, dict[str, Any]]:
        """The image folder, out of a git repository or an object store, and where it comes from."""
        origin = {"repository": repository, "path": data_path}
        if cluster.data == "uri":
            # As of 2.17.0, KFP looks for an importer's output under its display name, and takes its metadata literally.
            imported = dsl.importer(repository, dsl.Dataset, reimport=False)
            return imported.output, {**origin, "revision": revision, "hash": ""}
        version = step(
            "data_version",
            data_version(repository=repository, revision=revision, path=data_path),
            cached=False,
        )
        fetched = step(
            "fetch_data",
            fetch_data(
                repository=repository, commit=version.outputs["commit"], path=data_path, hash=version.outputs["hash"]
            ),
            cached=True,
        )
        return fetched.outputs["data"], {
            **origin,
            "revision": version.outputs["commit"],
            "hash": version.outputs["hash"],
        }

    @dsl.pipeline(name=NAME, description="Image folders to a measured model, and a champion if the gate accepts it")
    def siamese(
        repository: str,
        revision: str,
        data_path: str = defaults.data.path,
        max_pixels: int = defaults.data.max_pixels,
        tracking_uri: str = "",
        checkpoints: str = "",
        catalog_params: dict = given["catalog"],
        pairs_params: dict = given["pairs"],
        preprocess_params: dict = given["preprocess"],
        model_params: dict = given["model"],
        train_params: dict = given["train"],
        evaluate_params: dict = given["evaluate"],
        tracking_params: dict = given["tracking"],
        registry_params: dict = given["registry"],
        promote_params: dict = given["promote"],
    ) -> None:
        named = {"run": dsl.PIPELINE_JOB_NAME_PLACEHOLDER, "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}
        end = step("notify", notify(**named), cached=False)
        with dsl.ExitHandler(end, name="pipeline"):
            data, origin = brought(repository, revision, data_path)
            listed = step(
                "catalog",
                catalog(data=data, params=catalog_params, max_pixels=max_pixels, **origin),
                cached=True,
            )
            images_of = listed.outputs["catalog"]
            drawn = step("pairs", pairs(catalog=images_of, params=pairs_params), cached=True)
            stored = step(
                "preprocess",
                preprocess(
                    data=data,
                    catalog=images_of,
                    params=preprocess_params,
                    model_params=model_params,
                    max_pixels=max_pixels,
                ),
                cached=True,
            )
            read = {"catalog": images_of, "pairs": drawn.outputs["pairs"], "images": stored.outputs["images"]}
            to_train = {
                **read,
                "transform": stored.outputs["transform"],
                "params": train_params,
                "model_params": model_params,
                "tracking_params": tracking_params,
                "catalog_params": catalog_params,
                "pairs_params": pairs_params,
                "preprocess_params": preprocess_params,
                "tracking_uri": tracking_uri,
                "checkpoints": checkpoints,
            }
            if cluster.workers:
                launched = train_on_workers(**to_train, workers=look_of_workers(cluster))
                trained = step("train_on_workers", launched, cached=True)
            elif cluster.sweep:
                with dsl.ParallelFor(cluster.sweep.candidates, parallelism=cluster.sweep.parallel) as candidate:
                    tried = step("train", train(**to_train, overrides=candidate), cached=True)
                trained = step(
                    "choose",
                    choose(
                        models=dsl.Collected(tried.outputs["model"]),
                        histories=dsl.Collected(tried.outputs["history"]),
                        runs=dsl.Collected(tried.outputs["run"]),
                    ),
                    cached=True,
                )
            else:
                trained = step("train", train(**to_train, overrides={}), cached=True)
            model = {"model": trained.outputs["model"], "history": trained.outputs["history"]}
            measured = step(
                "evaluate",
                evaluate(**read, **model, params=evaluate_params, promote_params=promote_params),
                cached=True,
            )
            # kfp's local runner finds what a condition asks for only where it is a step's one, unnamed return value.
            with dsl.If(measured.outputs["Output"] == True, name="good enough"):  # noqa: E712
                figures = {name: measured.outputs[name] for name in ("metrics", "plots", "report", "threshold")}
                registered = step(
                    "register",
                    register(
                        data=data,
                        catalog=images_of,
                        **model,
                        run=trained.outputs["run"],
                        **figures,
                        max_pixels=max_pixels,
                        params=registry_params,
                        evaluate_params=evaluate_params,
                        promote_params=promote_params,
                        tracking_uri=tracking_uri,
                    ),
                    cached=False,
                )
                step(
                    "promote",
                    promote(
                        **read,
                        version=registered.output,
                        params=promote_params,
                        tracking_uri=tracking_uri,
                    ),
                    cached=False,
                )

    return siamese
