# SPDX-License-Identifier: Apache-2.0
"""The commands of `letvins` for configurations, maps, weights and exported networks."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from letvins_ros.errors import LetvinsError

ROLES = ("cam0", "cam1", "cam2", "cam3", "imu", "gyro", "accel")
STYLE: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}  # rich would double the start-up
config_app = typer.Typer(help="Show, check and import configurations.", **STYLE)
weights_app = typer.Typer(help="Weights of the networks.", **STYLE)
map_app = typer.Typer(help="Saved maps.", **STYLE)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration (yaml).")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key; repeatable.")]
TopicOption = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="ROLE=NAME", help="Topic in a bag for cam0 .. cam3, imu, gyro, accel; repeatable."),
]
CamerasOption = Annotated[
    str, typer.Option("--cameras", metavar="N,M", help="Cameras to use, left first, such as 0,1.")
]
MapArgument = Annotated[Path, typer.Argument(metavar="MAP", help="File that a run wrote to loop.save_map.")]


def input_overrides(topics: list[str] | None, cameras: str) -> list[str]:
    """What --topic and --cameras change in the configuration; LetvinsError for a role that does not exist."""
    changes = [f"input.cameras='{cameras}'"] if cameras else []
    for text in topics or ():
        role, equals, name = text.partition("=")
        if not equals or role not in ROLES or not name:
            raise LetvinsError(f"--topic wants ROLE=NAME with a role of {', '.join(ROLES)}, got {text!r}")
        changes.append(f"input.{role}_topic={name}")
    return changes


@config_app.command("show")
def config_show(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Print every key with unit, meaning and bounds: the defaults, or a file with changes."""
    from letvins_ros.config_io import load_config, to_yaml

    print(to_yaml(load_config(config, overrides or ())), end="")


@config_app.command("check")
def config_check(file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration (yaml).")]) -> None:
    """Check keys, types, bounds and calibration of a file."""
    from letvins_ros.config_io import load_config

    config = load_config(file)
    print(f"{file}: valid, {'with' if config.rig else 'without'} calibration")


@config_app.command("import")
def config_import(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE",
            help="EuRoC folder; file of Kalibr, VINS-Fusion, VINS-Mono, OpenVINS, ORB-SLAM3, OKVIS, Basalt, XRSLAM;"
            " camera_info yaml, of the left camera and of the right one.",
        ),
    ],
    imu: Annotated[Path | None, typer.Option("--imu", metavar="FILE", help="IMU file of a Kalibr chain.")] = None,
    cameras: CamerasOption = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """Convert the calibration of another program to a configuration."""
    from letvins_ros.calibration import choose_cameras, read_calibration
    from letvins_ros.config import Config, InputConfig
    from letvins_ros.config_io import to_yaml
    from letvins_ros.writing import write_atomic

    read = read_calibration(source[0], imu, source[1:])
    rig, default = choose_cameras(read.rig, InputConfig(cameras=cameras).camera_numbers), Config()
    mode = "mono_imu" if len(rig.cameras) == 1 else "stereo_imu" if rig.imu else "stereo"
    guesses = {"estimate_extrinsics": read.estimate_extrinsics, "estimate_time_offset": read.estimate_time_offset}
    config = replace(default, rig=rig, mode=mode, estimator=replace(default.estimator, **guesses))
    text = to_yaml(config)
    guessed = [f"{key} is on, as the file calls its values guesses" for key, value in guesses.items() if value]
    for note in [*read.notes, *guessed]:
        print(f"Note: {note}", file=sys.stderr)
    if out is None:
        print(text, end="")
    else:
        write_atomic(out, text)
        print(f"Written: {out} ({mode})")


@config_app.command("export")
def config_export(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Configuration with cameras, or what `config import` takes.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    to: Annotated[str, typer.Option(metavar="STYLE", help="kalibr, camera_info, vins or basalt.")] = "kalibr",
    cameras: CamerasOption = "",
) -> None:
    """Write a calibration for another program."""
    from letvins_ros.calibration import choose_cameras
    from letvins_ros.calibration_export import calibration_of, export
    from letvins_ros.config import InputConfig
    from letvins_ros.writing import write_set

    rig = choose_cameras(calibration_of(source), InputConfig(cameras=cameras).camera_numbers)
    texts = export(rig, to)
    write_set(out, texts)
    for name in texts:
        print(f"Written: {out / name}")


@map_app.command("info")
def map_info(file: MapArgument) -> None:
    """Show the content and provenance of a map."""
    from letvins_ros.loop.map_file import facts, load_map
    from letvins_ros.terminal import aligned

    print(aligned(facts(file, *load_map(file))))


@map_app.command("export")
def map_export(
    file: MapArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help=".tum poses, .g2o pose graph or .ply landmarks.")],
) -> None:
    """Export a map for other programs."""
    from letvins_ros.loop.export import export
    from letvins_ros.loop.map_file import load_map
    from letvins_ros.writing import write_atomic

    write_atomic(out, export(load_map(file)[0], out.suffix))
    print(f"Written: {out}")


@map_app.command("merge")
def map_merge(
    first: MapArgument,
    second: MapArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="File to write.")],
) -> None:
    """Merge two maps with places in common."""
    from letvins_ros.loop.map_file import load_map, save_map
    from letvins_ros.loop.merge import merge

    places, info = load_map(first)
    loops = merge(places, load_map(second, info)[0], info.left_camera(), info.gravity_aligned)
    save_map(out, places, info)
    print(f"Written: {out} ({loops} loops between the two)")


@weights_app.command("list")
def weights_list() -> None:
    """Show the bundled weights."""
    from letvins_ros.terminal import aligned
    from letvins_ros.weights import LETNET2_GRAY

    files = sorted(LETNET2_GRAY.parent.glob("*.safetensors"))
    print(aligned([(file.name, _describe(file)) for file in files]) or "none")


@weights_app.command("check")
def weights_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".safetensors, .pth, or exported: .xml, .onnx")],
    network: Annotated[str, typer.Option(help="letnet2, kp2dtiny, kp2d or superpoint.")] = "letnet2",
    backend: Annotated[str, typer.Option(help="auto, openvino, torch or tensorrt.")] = "auto",
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the images.")] = "752x480",
) -> None:
    """Load weights, run the network and measure the time per image."""
    from letvins_ros.inference.export_files import read_size
    from letvins_ros.inference.measures import time_network

    name, took_ms = time_network(network, file, backend, read_size(size))
    print(f"{file}: {_describe(file)}; runs with {name}, {took_ms:.1f} ms for an image of {size}")


def _describe(file: Path) -> str:
    import hashlib

    from letvins_ros.weights import load_weights

    about = f"{file.stat().st_size} bytes, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    if file.suffix in (".xml", ".onnx"):
        return about
    return f"{sum(array.size for array in load_weights(file).values())} numbers, {about}"


def export(  # noqa: PLR0913  (as many options as the command has)
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="letnet2, kp2dtiny, kp2d, superpoint and others.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="File: .onnx, .xml (OpenVINO), .param (ncnn) or .engine (TensorRT).")
    ],
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights, instead of the bundled ones.")] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the images.")] = "752x480",
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Any size with sides that are multiples of 32.")] = False,
    int8: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="8 bits (.xml, .onnx), calibrated on the images in FOLDER.")
    ] = None,
    also: Annotated[str, typer.Option(metavar="MAPS", help="Further maps: place, segmentation, depth.")] = "",
) -> None:
    """Export a network for another runtime and compare its output with torch."""
    from letvins_ros.inference.export_files import export_network
    from letvins_ros.terminal import aligned

    print(aligned(export_network(network, out, weights, size, dynamic=dynamic, int8=int8, also=also)))
    print(f"Written: {out}")
