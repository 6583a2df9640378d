# SPDX-License-Identifier: Apache-2.0
"""The `letvins` command. Heavy imports stay inside the commands, so that help and errors appear at once."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from letvins_ros import __version__
from letvins_ros.cli_files import (
    STYLE,
    CamerasOption,
    ConfigOption,
    SetOption,
    TopicOption,
    config_app,
    export,
    input_overrides,
    map_app,
    weights_app,
)
from letvins_ros.cli_process import run_command
from letvins_ros.errors import LetvinsError
from letvins_ros.processes import check_address_space

if TYPE_CHECKING:
    from letvins_ros.config import Config
    from letvins_ros.pipeline import RunOptions

LIGHT = ("config",)  # commands that load no native library but numpy
app = typer.Typer(help="Stereo-inertial odometry and SLAM with learned features.", **STYLE)
app.add_typer(config_app, name="config")
app.add_typer(map_app, name="map")
app.add_typer(weights_app, name="weights")

OutOption = Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder to write to.")]


def main() -> None:
    """Run the command; errors a user can fix end in one line on stderr and exit code 1."""
    run_command(app)


def _finite(value: float | None) -> float | None:
    """A number of seconds or the like, as typer's bounds let infinity and NaN through."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def _show_version(wanted: bool) -> None:
    if wanted:
        from letvins_ros.evaluation.provenance import commit

        print(f"letvins {__version__} (commit {commit()})")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Version and commit.")
    ] = False,
) -> None:
    """Hold the options of `letvins` itself."""
    if context.invoked_subcommand not in LIGHT:
        check_address_space()


@app.command()
def run(  # noqa: PLR0913  (as many options as the command has)
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="EuRoC, TUM-VI, TartanAir or KITTI folder, ROS 1 or ROS 2 bag.")
    ],
    config: ConfigOption = None,
    out: OutOption = None,
    overrides: SetOption = None,
    start: Annotated[float, typer.Option(min=0, callback=_finite, metavar="S", help="Start offset in seconds.")] = 0.0,
    duration: Annotated[
        float | None, typer.Option(min=0.01, callback=_finite, metavar="S", help="Duration in seconds.")
    ] = None,
    no_loop: Annotated[bool, typer.Option("--no-loop", help="Disable loop closing.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Run at the sensor's rate, drop late frames.")] = False,
    topics: TopicOption = None,
    cameras: CamerasOption = "",
    view: Annotated[bool, typer.Option("--view", help="Record view.rrd too, for rerun; live where it runs.")] = False,
) -> None:
    """Estimate the motion of a recording; writes trajectories, metrics, plots and a report."""
    from letvins_ros.config_io import load_config

    settings = load_config(config, [*(overrides or ()), *input_overrides(topics, cameras)])
    from letvins_ros.pipeline import RunOptions

    options = RunOptions(
        start_s=start, duration_s=duration, loop=not no_loop, realtime=realtime, view="view.rrd" * view
    )
    _run(source, out, settings, options)


@app.command()
def demo(out: OutOption = None) -> None:
    """Simulate a short sequence, run on it and show where the plots are. The sequence is kept and reused."""
    from letvins_ros.config import Config
    from letvins_ros.pipeline import RunOptions
    from letvins_ros.run_folder import RESULTS
    from letvins_ros.simulation import simulate
    from letvins_ros.terminal import progress_bar

    data = (out / "data" if out else RESULTS / "demo-data") / f"hall-{__version__}"
    if not data.exists():
        with progress_bar("simulating") as progress:
            simulate(data, "hall", 10.0, 0, progress)
    _run(data, out, Config(), RunOptions(), name="demo")


def _run(source: Path, out: Path | None, config: "Config", options: "RunOptions", name: str = "") -> None:
    from letvins_ros.evaluation.run_metrics import summary
    from letvins_ros.pipeline import run_offline
    from letvins_ros.run_folder import run_folder
    from letvins_ros.terminal import aligned, progress_bar
    from letvins_ros.writing import finish_sets

    path = source.resolve()
    default = path.parent.name if path.name == "mav0" else path.stem if path.is_file() else path.name
    with run_folder(out, name or default) as folder, progress_bar("running") as progress:
        if finish_sets(folder):
            print(f"Note: {folder}: what a killed run was about to put in place is there now")
        metrics = run_offline(source, folder, config, options, progress)
    if metrics.get("interrupted"):
        print("Interrupted; the results cover the frames processed until then.")
    print(aligned(summary(metrics)))
    for warning in metrics["warnings"]:
        print(f"Warning: {warning['code']}: {warning['message']}; remedy: {warning['remedy']}")
    _show_skipped(metrics)
    print(f"Results: {folder}/ (report.html, trajectory.png, error.png, timing.png)")
    if options.view:
        print(f"To see it: rerun {folder / options.view}")
    if metrics.get("missing"):
        raise LetvinsError(f"the results lack {metrics['missing']}")


def _show_skipped(figures: dict[str, Any]) -> None:
    for note in figures.get("notes", ()):
        print(f"Note: {note}")
    for kind, count in figures.get("skipped", {}).items():
        print(f"Skipped: {kind}, {count} times")


@app.command()
def evaluate(  # noqa: PLR0913  (as many options as the command has)
    estimates: Annotated[
        list[Path], typer.Argument(metavar="ESTIMATE...", help="Trajectories in TUM format, or bags with odometry.")
    ],
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="Ground truth in TUM format, or a recording with ground truth.")
    ],
    out: OutOption = None,
    max_diff: Annotated[
        float | None,
        typer.Option(min=0, metavar="S", help="Pair nearest poses up to this apart, without interpolation."),
    ] = None,
    offset: Annotated[float, typer.Option(metavar="S", help="Time to add to the estimate's stamps.")] = 0.0,
    find_offset: Annotated[
        bool, typer.Option("--estimate-offset", help="Estimate the time offset, up to 1 s around --offset.")
    ] = False,
    scale: Annotated[bool, typer.Option("--scale", help="Sim(3) instead of SE(3) alignment.")] = False,
    topic: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Topic of estimates that are bags.", show_default="letvins/odometry"),
    ] = None,
) -> None:
    """Compare trajectories with ground truth, after SE(3) alignment."""
    from letvins_ros.evaluation.evaluate import Comparing, evaluate_all
    from letvins_ros.evaluation.evaluate import evaluate as compare
    from letvins_ros.evaluation.run_metrics import summary
    from letvins_ros.terminal import aligned, columns

    how = Comparing(max_diff, offset, find_offset, scale, topic)
    if len(estimates) == 1:
        metrics = compare(estimates[0], reference, out, how)
        print(aligned(summary(metrics)))
        _show_skipped(metrics)
    else:
        found = evaluate_all(estimates, reference, out, how)
        print(columns({name: summary(metrics) for name, metrics in found.items()}))
        _show_skipped({"notes": dict.fromkeys(note for metrics in found.values() for note in metrics["notes"])})
    if out:
        print(f"Results: {out}/")


@app.command()
def track(  # noqa: PLR0913  (as many options as the command has)
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Video, folder of images, or a recording that `run` takes.")
    ],
    tracker: Annotated[str | None, typer.Option(help="A value of tracker.method.")] = None,
    config: ConfigOption = None,
    out: OutOption = None,
    overrides: SetOption = None,
    topics: TopicOption = None,
    cameras: CamerasOption = "",
) -> None:
    """Draw feature tracks over the left images, and plot where in the image they survive."""
    from letvins_ros.config_io import load_config

    choice = input_overrides(topics, cameras) + ([f"tracker.method={tracker}"] if tracker else [])
    settings = load_config(config, [*(overrides or ()), *choice])
    from letvins_ros.run_folder import run_folder
    from letvins_ros.show_tracks import show_tracks
    from letvins_ros.terminal import aligned, progress_bar

    with run_folder(out, f"{source.resolve().stem}-tracks") as folder, progress_bar("tracking") as progress:
        figures = show_tracks(source, folder, settings, progress)
    if figures["interrupted"]:
        print("Interrupted; the results cover the frames processed until then.")
    shown = {key: value for key, value in figures.items() if isinstance(value, int | float | str)}
    print(
        aligned([(key.replace("_", " "), f"{v:.4g}" if isinstance(v, float) else str(v)) for key, v in shown.items()])
    )
    _show_skipped(figures)
    print(f"Results: {folder}/ (tracks.mp4, tracks.png, survival.png, tracks.json)")


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")],
    scenario: Annotated[
        str, typer.Option(help="hall, hall4 (four cameras), corridor, relit, aggressive, dark or static.")
    ] = "hall",
    duration: Annotated[
        float | None,
        typer.Option(
            min=1, callback=_finite, metavar="S", help="Length in seconds: 20, or 90 for two laps of a corridor."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Render a stereo-inertial recording with exact ground truth, as an EuRoC folder."""
    from letvins_ros.simulation import simulate as write
    from letvins_ros.terminal import progress_bar

    with progress_bar("simulating") as progress:
        write(out, scenario, duration, seed, progress)
    print(f"Written: {out}/")


@app.command()
def benchmark(
    suite: Annotated[Path, typer.Argument(metavar="SUITE", help="Sources, configurations, repeats (yaml).")],
    out: OutOption = None,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run on this Ray cluster.")] = None,
    save_baseline: Annotated[bool, typer.Option("--save-baseline", help="Save this result as the baseline.")] = False,
) -> None:
    """Run several sources and configurations repeatedly; exit 1 where a median is worse than the baseline."""
    from rich.console import Console

    from letvins_ros.evaluation.benchmark import benchmark_table, run_benchmark
    from letvins_ros.run_folder import run_folder

    with run_folder(out, suite.stem) as folder:
        regressed = run_benchmark(suite, folder, save_baseline, ray, print)
    Console(width=None if sys.stdout.isatty() else 200).print(benchmark_table(folder))
    print(f"Results: {folder}/")
    raise typer.Exit(int(regressed))


@app.command()
def selftest(
    only: Annotated[str, typer.Option(metavar="TEXT", help="Only disturbances whose name contains this.")] = "",
    duration: Annotated[float, typer.Option(min=6.0, max=600.0, metavar="S", help="Length of the flight.")] = 12.0,
    seed: Annotated[int, typer.Option(min=0, help="Another flight.")] = 0,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Fly through a simulated hall under 67 disturbances; exit 1 where the odometry is silently wrong."""
    from rich.console import Console

    from letvins_ros.config_io import load_config
    from letvins_ros.errors import ConfigError
    from letvins_ros.selftest import DISTURBANCES, battery_table, run_battery
    from letvins_ros.terminal import progress_bar

    names = [name for name in DISTURBANCES if only in name]
    if not names:
        raise ConfigError(f"no disturbance contains {only!r}; known: {', '.join(DISTURBANCES)}")
    loaded = load_config(config, overrides or [])
    with progress_bar("flying") as progress:
        done = iter(range(1, len(names) + 2))
        outcomes = run_battery(names, loaded, duration, seed, lambda _: progress(next(done), len(names) + 1))
    Console(width=None if sys.stdout.isatty() else 200).print(battery_table(outcomes))
    if len(outcomes) <= len(names):
        raise KeyboardInterrupt
    raise typer.Exit(int(any(outcome.silently_wrong for outcome in outcomes)))


@app.command()
def up(  # noqa: PLR0913  (the arguments of the launch files)
    config: ConfigOption = None,
    dataset: Annotated[Path | None, typer.Option(metavar="SOURCE", help="Recording to play, as for `run`.")] = None,
    bag: Annotated[Path | None, typer.Option(metavar="BAG", help="The same for a bag.")] = None,
    rate: Annotated[float, typer.Option(min=0.01, callback=_finite, metavar="X", help="Playback speed.")] = 1.0,
    repeat: Annotated[bool, typer.Option("--repeat", help="Repeat the recording.")] = False,
    autopilot: Annotated[str, typer.Option(help="Pass odometry on to an autopilot: px4 or mavros.")] = "",
    load_map: Annotated[str, typer.Option(metavar="FILE", help="Map to start with.")] = "",
    save_map: Annotated[str, typer.Option(metavar="FILE", help="Where to write the map at the end.")] = "",
    localise: Annotated[bool, typer.Option("--localise", help="Add nothing to the map.")] = False,
    tracker: Annotated[str, typer.Option(help="A value of tracker.method.")] = "",
    backend: Annotated[str, typer.Option(help="Runtime of the network: openvino, torch, tensorrt.")] = "",
    loop: Annotated[bool, typer.Option(help="Start loop_closure.")] = True,
    use_sim_time: Annotated[bool, typer.Option("--use-sim-time", help="Use the time of /clock.")] = False,
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Namespace, and prefix of the frames.")] = "",
    cam0_topic: Annotated[str, typer.Option(metavar="TOPIC", help="Left images.")] = "cam0/image_raw",
    cam1_topic: Annotated[str, typer.Option(metavar="TOPIC", help="Right images.")] = "cam1/image_raw",
    cam2_topic: Annotated[str, typer.Option(metavar="TOPIC", help="Third camera's images.")] = "cam2/image_raw",
    cam3_topic: Annotated[str, typer.Option(metavar="TOPIC", help="Fourth camera's images.")] = "cam3/image_raw",
    imu_topic: Annotated[str, typer.Option(metavar="TOPIC", help="IMU.")] = "imu",
    wheel_topic: Annotated[str, typer.Option(metavar="TOPIC", help="Speed of the wheels.")] = "wheel",
    gnss_topic: Annotated[str, typer.Option(metavar="TOPIC", help="GNSS fixes.")] = "gnss",
    fastdds: Annotated[bool, typer.Option(help="Use config/fastdds.xml, for nodes on one machine.")] = True,
    autostart: Annotated[bool, typer.Option(help="Nodes configure and activate themselves.")] = True,
    record: Annotated[Path | None, typer.Option(metavar="BAG", help="Write all letvins topics to a ROS 2 bag.")] = None,
    view: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record for rerun (.rrd), live where it runs.")
    ] = None,
) -> None:
    """Start and stop the ROS 2 nodes together, as the launch file does, without the ros2 command."""
    from letvins_ros.ros.system import System
    from letvins_ros.ros.up import run_system

    system = System(
        config=str(config or ""), dataset=str(dataset or bag or ""), rate=rate, repeat=repeat,
        autopilot=autopilot, load_map=load_map,
        save_map=save_map, localise=localise, tracker=tracker,
        backend=backend, loop=loop, use_sim_time=use_sim_time, namespace=namespace, cam0_topic=cam0_topic,
        cam1_topic=cam1_topic, cam2_topic=cam2_topic, cam3_topic=cam3_topic, imu_topic=imu_topic,
        wheel_topic=wheel_topic, gnss_topic=gnss_topic, fastdds=fastdds, autostart=autostart,
    )  # fmt: skip
    raise typer.Exit(run_system(system, record, view))


app.command()(export)  # last in the list

if __name__ == "__main__":
    main()
