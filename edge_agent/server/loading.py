"""From a package to engines that are warm and tested. Slow, and always on a thread of its own."""

from __future__ import annotations

import logging
from typing import Callable, List, Mapping, Optional, TypeVar

from edge_agent.errors import EdgeAgentError, EngineError, PackageError
from edge_agent.model import Manifest, Model, ModelPackage, OnnxOptions, PublicKey, load_model, open_package, self_test
from edge_agent.server.fingerprint import Fingerprint, fingerprint_of
from edge_agent.server.observer import ServerObserver, Unobserved
from edge_agent.server.pool import EnginePool, close_all
from edge_agent.server.store import DeployedModel, identity_in
from edge_agent.server.units import InferenceUnits, Share, share_of, units_of

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Loader:
    """Loads packages; safe to use from any thread.

    Args:
        threads: of the machine, for all inferences.
        units: by model component; they go before what the manifests say.
        onnx: how ONNX packages are run.
        observer: is told of every version that was loaded or was not; not of further engines.
        trusted: only packages signed with it are loaded; None for all.
    """

    def __init__(
        self,
        threads: int,
        units: Optional[Mapping[str, InferenceUnits]] = None,
        onnx: Optional[OnnxOptions] = None,
        observer: Optional[ServerObserver] = None,
        trusted: Optional[PublicKey] = None,
    ) -> None:
        self._observer = observer or Unobserved()
        self._threads = threads
        self._onnx = onnx
        self._trusted = trusted
        self._units = dict(units or {})

    def load(self, package: DeployedModel, settled: Optional[Fingerprint] = None) -> EnginePool:
        """A version, ready to serve: loaded, warmed up, its self-test passed.

        Args:
            package: where it lies.
            settled: what its files must still be; None for those that are there now.

        Raises:
            EdgeAgentError: it cannot be loaded, or changed meanwhile, or failed its self-test.
        """
        before = fingerprint_of(package.path) if settled is None else settled
        try:
            pool = _explained(package, lambda: self._load(package, before))
        except EdgeAgentError as error:
            self._observer.loaded(package.component, str(error))
            raise
        self._observer.loaded(package.component, "")
        return pool

    def load_another(self, pool: EnginePool) -> Model:
        """One more engine of a version that serves.

        Raises:
            EdgeAgentError: it cannot be loaded, or its package is not the same any more.
        """

        def load() -> Model:
            with open_package(pool.package.path) as opened:
                model = self._load_warm(opened, pool.share.threads)
            return _unless_changed(pool.package, pool.fingerprint, [model])[0]

        return _explained(pool.package, load)

    def _load(self, package: DeployedModel, before: Fingerprint) -> EnginePool:
        models: List[Model] = []
        try:
            with open_package(package.path) as opened:
                share = self._share(package, opened.manifest)
                models.append(self._load_warm(opened, share.threads))
                self_test(models[0], opened)
                while len(models) < share.kept:
                    models.append(self._load_warm(opened, share.threads))
            identity = identity_in(opened.manifest, package.component, package.component_version)
        except BaseException:
            close_all(models)
            raise
        return EnginePool(package, before, identity, share, _unless_changed(package, before, models))

    def _load_warm(self, package: ModelPackage, threads: int) -> Model:
        if self._trusted is not None:
            self._trusted.check(package)
        model = load_model(package, threads=threads, onnx=self._onnx)
        try:
            model.warm_up()
        except BaseException:
            model.close()
            raise
        return model

    def _share(self, package: DeployedModel, manifest: Manifest) -> Share:
        return share_of(self._units.get(package.component) or units_of(manifest), self._threads)


def _unless_changed(package: DeployedModel, before: Fingerprint, models: List[Model]) -> List[Model]:
    """Nothing read from a package that changed meanwhile is served: it may be half of one and half of another."""
    if fingerprint_of(package.path) == before:
        return models
    close_all(models)
    raise PackageError(
        str(package.path),
        "changed while it was loaded",
        "Put a package in place in one step: copy it beside, then rename it.",
    )


def _explained(package: DeployedModel, load: Callable[[], _T]) -> _T:
    """Whatever goes wrong becomes a sentence: a loader that died unseen would leave its model STARTING for ever."""
    try:
        return load()
    except EdgeAgentError:
        raise
    except MemoryError as error:
        raise EngineError(package.component, "there is not enough memory to load the model") from error
    except Exception as error:
        _log.exception("%s: loading failed for a reason that is not the package's", package.component)
        raise EngineError(package.component, "the server failed to load the model; its log says why") from error
