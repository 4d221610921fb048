"""What methods are made of: the contract, heads, a momentum teacher, a queue, InfoNCE, and multi-crop."""

from ray_ssl.methods.base.contract import Method, Terms, TwoViewMethod, ViewPlan, build_method, embed_two_views
from ray_ssl.methods.base.contrastive import both_ways, info_nce_terms
from ray_ssl.methods.base.crops import MultiCropConfig, embed_crops, multi_crop_views
from ray_ssl.methods.base.heads import PredictorConfig, ProjectorConfig, mlp
from ray_ssl.methods.base.labelled import labelled_terms, mean_where
from ray_ssl.methods.base.queue import Queue, check_queue
from ray_ssl.methods.base.teacher import TeacherMomentum, cosine_momentum, follow, teacher_of

__all__ = [
    "Method",
    "MultiCropConfig",
    "PredictorConfig",
    "ProjectorConfig",
    "Queue",
    "TeacherMomentum",
    "Terms",
    "TwoViewMethod",
    "ViewPlan",
    "both_ways",
    "build_method",
    "check_queue",
    "cosine_momentum",
    "embed_crops",
    "embed_two_views",
    "follow",
    "info_nce_terms",
    "labelled_terms",
    "mean_where",
    "mlp",
    "multi_crop_views",
    "teacher_of",
]
