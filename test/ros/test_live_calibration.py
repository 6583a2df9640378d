# SPDX-License-Identifier: Apache-2.0
"""Nodes without a calibration take it from the topics."""

from dataclasses import replace
from pathlib import Path

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from letvins_ros.datasets import open_dataset
from letvins_ros.ros import convert

from ..some import some
from .harness import LATCHED, START_S, Ear, Stack, call, camera_info

FEWER = Parameter("tracker.max_features", value=120).to_parameter_msg()


def test_nodes_wait_for_their_calibration_on_topics_and_then_run(recording: Path, tmp_path: Path) -> None:
    cameras = some(open_dataset(recording).rig).cameras
    with (
        Stack(tmp_path, dataset=str(recording), repeat=True, rate=0.5) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        for name in ("feature_tracker", "vio", "loop_closure"):
            known = stack.programs[name].parameters
            kept = {key: value for key, value in known.items() if key != "player.source"}
            stack.programs[name] = replace(stack.programs[name], parameters=kept)
        player = stack.programs["dataset_player"]
        at_once = player.parameters | {"player.wait_s": 0.0}  # what is to listen waits for the IMU's rate
        stack.programs["dataset_player"] = replace(player, parameters=at_once)
        stack.start("feature_tracker", "vio", "loop_closure", "dataset_player")

        def waits_for(text: str) -> bool:
            heard = [ear.diagnostics.get(n, {}).get("message", "") for n in ("feature_tracker", "vio", "loop_closure")]
            return all(text in message for message in heard)

        ear.wait(lambda: waits_for("no camera_info on /cam0/camera_info and /cam1/camera_info"), START_S, "the lack")
        infos = [ear.node.create_publisher(CameraInfo, f"cam{i}/camera_info", 10) for i in range(2)]
        sent = [camera_info(mounted.camera, f"cam{i}") for i, mounted in enumerate(cameras)]
        ear.node.create_timer(0.2, lambda: [p.publish(m) for p, m in zip(infos, sent, strict=True)])
        ear.wait(lambda: waits_for("/tf_static does not join imu and cam0"), START_S, "the lack of the mounts")
        statics = ear.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        mounts = [
            convert.transform_to_message(mounted.T_body_cam, 1, "imu", f"cam{i}") for i, mounted in enumerate(cameras)
        ]
        statics.publish(TFMessage(transforms=mounts))
        ear.wait(lambda: len(ear.poses) > 5, START_S, "odometry")
        assert "calibration of 2 cameras taken from camera_info and /tf_static" in stack.log("vio")
        assert not ear.diagnostics["feature_tracker"].get("cam0 camera_info")
        (result,) = call(ear, SetParameters, "set_parameters", "feature_tracker", parameters=[FEWER]).results
        assert result.successful  # and the calibration is kept
        sent[0] = camera_info(cameras[0].camera, "cam0", 0.5)
        ear.wait(lambda: "cam0 camera_info" in ear.diagnostics["feature_tracker"], START_S, "the halved focal length")
        assert "its focal length is" in ear.diagnostics["feature_tracker"]["cam0 camera_info"]
        assert set(stack.stop().values()) == {0}
