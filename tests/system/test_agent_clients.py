"""The contract of the agent's service is shipped, and example clients in other languages compile."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fedstill_client.cli import app
from fedstill_client.commands.proto import CONTRACT, PROTO_FOLDER
from typer.testing import CliRunner

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "agent-clients"
GRPC_HEADER = Path("/usr/include/grpcpp/grpcpp.h")
JARS = Path("/usr/share/java")

needs_protoc = pytest.mark.skipif(shutil.which("protoc") is None, reason="protoc is not installed")


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def generate(folder: Path, plugin: str, *outs: str) -> None:
    """Have protoc write a language's messages and service into the folder."""
    program = shutil.which(plugin)
    if program is None:
        pytest.skip(f"{plugin} is not installed")
    name = outs[-1].removeprefix("--").removesuffix("_out")
    generated = [f"{out}={folder}" for out in outs]
    run(
        "protoc",
        "-I",
        PROTO_FOLDER,
        *generated,
        f"--plugin=protoc-gen-{name}={program}",
        PROTO_FOLDER / CONTRACT,
    )


def test_the_command_prints_the_contract_and_where_it_is() -> None:
    printed = CliRunner().invoke(app, ["proto"]).output
    assert printed == (PROTO_FOLDER / CONTRACT).read_text()
    assert "rpc Predict" in printed
    assert Path(CliRunner().invoke(app, ["proto", "--folder"]).output.strip()) == PROTO_FOLDER


@needs_protoc
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.skipif(not GRPC_HEADER.exists(), reason="libgrpc++-dev is not installed")
def test_the_client_in_cpp_compiles(tmp_path: Path) -> None:
    generate(tmp_path, "grpc_cpp_plugin", "--cpp_out", "--grpc_out")
    source = EXAMPLES / "cpp" / "agent_client.cpp"
    run("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-isystem", tmp_path, source)


@needs_protoc
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kotlinc") is None, reason="kotlinc is not installed")
@pytest.mark.skipif(not (JARS / "grpc-netty.jar").exists(), reason="libgrpc-java is not installed")
def test_the_client_in_kotlin_compiles(tmp_path: Path) -> None:
    generate(tmp_path, "grpc_java_plugin", "--java_out", "--grpc-java_out")
    kinds = ("grpc-*.jar", "netty-*.jar", "protobuf*.jar", "guava*.jar")
    path = ":".join(str(jar) for kind in kinds for jar in sorted(JARS.glob(kind)))
    # kotlinc reads the Java that protoc wrote, too.
    run("kotlinc", "-cp", path, "-d", tmp_path / "out", EXAMPLES / "kotlin" / "AgentClient.kt", tmp_path)
