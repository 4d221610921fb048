"""What backbones are made of: the contract, and torchvision's two families with their layers named."""

from ray_ssl.backbones.base.contract import Backbone, PlainTorch, build_backbone
from ray_ssl.backbones.base.resnet import ResNetBackbone, ResNetConfig
from ray_ssl.backbones.base.transformer import TransformerBackbone

__all__ = ["Backbone", "PlainTorch", "ResNetBackbone", "ResNetConfig", "TransformerBackbone", "build_backbone"]
