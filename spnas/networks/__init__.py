"""Base networks, their sites, and the surgery that turns a base network into a searched one."""

from spnas.networks.base import Network, get_network, network_names, register_network
from spnas.networks.deploy import deploy_model
from spnas.networks.document import model_document
from spnas.networks.imagenet import TorchvisionNetwork
from spnas.networks.inherit import load_base_weights
from spnas.networks.library import OperatorLibrary
from spnas.networks.load import ParetoModel, load_model, load_pareto
from spnas.networks.resnet import CifarResNet
from spnas.networks.sites import list_sites
from spnas.networks.surgery import apply_architecture, check_architecture
from spnas.networks.vgg import CifarVgg
from spnas.networks.yolo import Yolo

__all__ = [
    "CifarResNet",
    "CifarVgg",
    "Network",
    "OperatorLibrary",
    "ParetoModel",
    "TorchvisionNetwork",
    "Yolo",
    "apply_architecture",
    "check_architecture",
    "deploy_model",
    "get_network",
    "list_sites",
    "load_base_weights",
    "load_model",
    "load_pareto",
    "model_document",
    "network_names",
    "register_network",
]
