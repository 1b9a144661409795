"""What programs call the parts of a motion. The first name of a tuple that a file has is the one that is read."""

from __future__ import annotations

# a whole pose in one array: WHAM's world before its camera, AIST++, ROMP, TRAM, AMASS and most others
WHOLE = ("pose_world", "smpl_poses", "smpl_thetas", "pred_rotmat", "poses", "pose", "fullpose", "smpl_pose")
WHOLE_JOINTS = (22, 24, 52, 55)
# the body apart, and the name of its root beside it: AMASS's newer files and SLAHMR, smplx, EMDB
BODY = {"pose_body": "root_orient", "body_pose": "global_orient", "poses_body": "poses_root"}
BODY_JOINTS = (21, 23)  # SMPL's has two for the hands
HANDS = ("pose_hand",)  # both
LEFT_HAND = ("left_hand_pose", "lhand_pose")
RIGHT_HAND = ("right_hand_pose", "rhand_pose")
JAW = ("pose_jaw", "jaw_pose")
EYES = ("pose_eye",)  # both
LEFT_EYE = ("leye_pose", "left_eye_pose")
RIGHT_EYE = ("reye_pose", "right_eye_pose")

# where the body is; some names belong to one name of the pose
PLACE_OF = {"pose_world": "trans_world", "smpl_poses": "smpl_trans", "pred_rotmat": "pred_trans"}
PLACES = ("trans", "transl", "smpl_trans", "cam_trans", "pred_trans", "translation", "root_trans", "camera")
SHAPES = ("betas", "smpl_betas", "pred_shape", "shape", "beta")
SCALES = ("smpl_scaling",)  # by which places are larger than metres
FRAME_RATES = ("mocap_frame_rate", "mocap_framerate", "fps", "frame_rate", "framerate", "video_fps")
FRAMES = ("frame_ids", "frame", "frame_idx", "frame_id")  # the video frame of each pose
SEEN = ("track_mask", "vis_mask")  # whether a person is there, for each frame
TRACKS = ("track_ids", "track_id", "tid", "person_id")
GENDERS = ("gender", "genders")
MODELS = ("surface_model_type", "model_type")
UP_AXES = ("up_axis",)
AMASS = ("mocap_frame_rate", "mocap_framerate", "mocap_time_length", "dmpls", "surface_model_type")  # AMASS's own
SLAHMR = ("floor_plane", "world_scale", "track_mask")  # SLAHMR's own
EASYMOCAP = ("Rh", "Th")  # its root

ALL = frozenset(
    name
    for names in (
        WHOLE, BODY, BODY.values(), HANDS, LEFT_HAND, RIGHT_HAND, JAW, EYES, LEFT_EYE, RIGHT_EYE, PLACE_OF.values(),
        PLACES, SHAPES, SCALES, FRAME_RATES, FRAMES, SEEN, TRACKS, GENDERS, MODELS, UP_AXES, AMASS, SLAHMR,
        EASYMOCAP,
    )
    for name in names
)  # fmt: skip
