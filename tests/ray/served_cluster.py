"""A Ray cluster on this machine that serves what a file of Ray Serve says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families
from ray import serve

from amulet_integrations.serving.access.key_file import KeyFile

MODEL_PROCESS = "ray::ServeReplica:amulet:AmuletModel"
_SECONDS = 300.0


@dataclass
class Cluster:
    """What runs.

    Attributes:
        folder: Where Ray writes.
        model: The folder of the model, which is its name, too.
        port: Where Ray Serve listens.
        key: An application's key.
        options: Options of the deployment "AmuletModel" that differ from the usual ones.
    """

    folder: Path
    model: Path
    port: int
    key: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def started(cls, folder: Path, model: Path) -> Iterator[Cluster]:
        """Starts it, and ends every process of it."""
        key = KeyFile(folder / "keys.json").create(application="chat").text
        ray.init(
            num_cpus=8,  # of which there need not be so many
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=str(folder / "ray"),
        )
        cluster = cls(folder, model, _free_port(), key)
        try:
            cluster.apply()
            yield cluster
        finally:
            ray.shutdown()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def openai(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, **options)

    def http(self, **options: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def apply(self, **options: Any) -> None:
        """Serves with other options of the model's deployment, and waits until it does."""
        self.options = options
        path, before = self.folder / "serve.yaml", self._deployed_at()
        path.write_text(yaml.safe_dump(self._configuration()))
        address = ray.get_runtime_context().gcs_address
        command = [str(Path(sys.executable).parent / "serve"), "run", "--non-blocking"]
        with (self.folder / "serve.log").open("ab") as log:
            subprocess.run(
                [*command, "--address", address, str(path)], stdout=log, stderr=log, check=True
            )
        self.wait(lambda: self._deployed_at() > before and self._is_settled())

    def wait(self, condition: Callable[[], object]) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + _SECONDS
        while not condition():
            assert time.monotonic() < deadline, serve.status()
            time.sleep(0.2)

    def replicas(self) -> set[str]:
        """The ids of the replicas that answer."""
        return set(self.counts("amulet_prompt_tokens_total"))

    def counts(self, sample: str, **labels: str) -> Counter[str]:
        """The sum of a metric by replica."""
        found: Counter[str] = Counter()
        try:
            page = httpx.get(f"{self.url}/metrics", timeout=10).raise_for_status().text
        except httpx.HTTPError:
            return found
        for family in text_string_to_metric_families(page):
            for it in family.samples:
                if it.name == sample and labels.items() <= it.labels.items():
                    found[it.labels["replica"]] += int(it.value)
        return found

    def kill_a_replica(self) -> int:
        """Ends the process of a replica as the system would for want of memory."""
        pid = min(self.model_processes())
        os.kill(pid, signal.SIGKILL)
        return pid

    def model_processes(self) -> set[int]:
        """The processes of this cluster's replicas."""
        parents = {pid: parent for pid, parent, _ in _processes()}

        def is_ours(pid: int) -> bool:
            while pid > 1 and pid != os.getpid():
                pid = parents.get(pid, 0)
            return pid == os.getpid()

        return {pid for pid, _, line in _processes() if MODEL_PROCESS in line and is_ours(pid)}

    def logs(self) -> str:
        """Everything that Ray and the server have written."""
        files = [*self.folder.glob("ray/session_*/logs/**/*"), self.folder / "serve.log"]
        return "\n".join(it.read_text(errors="replace") for it in files if it.is_file())

    def _deployed_at(self) -> float:
        application = serve.status().applications.get("amulet")
        return 0.0 if application is None else application.last_deployed_time_s

    def _is_settled(self) -> bool:
        application = serve.status().applications["amulet"]
        healthy = {it.status for it in application.deployments.values()} == {"HEALTHY"}
        wanted = self.options.get("num_replicas", 2)
        return application.status == "RUNNING" and healthy and len(self.replicas()) == wanted

    def _configuration(self) -> dict[str, Any]:
        """As docs/deploy/ray-serve.yaml, for this machine and this model."""
        text = Path("docs/deploy/ray-serve.yaml").read_text()
        configuration: dict[str, Any] = yaml.safe_load(text)
        configuration["http_options"] = {"host": "127.0.0.1", "port": self.port}
        (application,) = configuration["applications"]
        application["args"] = {"model": str(self.model), "keys": str(self.folder / "keys.json")}
        (model,) = [it for it in application["deployments"] if it["name"] == "AmuletModel"]
        del model["autoscaling_config"]
        model |= {"num_replicas": 2, "ray_actor_options": {"num_cpus": 1}, **self.options}
        return configuration


def _processes() -> Iterator[tuple[int, int, str]]:
    """The id, the parent's id and the command line of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            status = (folder / "stat").read_text()
        except OSError:
            continue
        yield int(folder.name), int(status.rpartition(")")[2].split()[1]), line


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
