from .datasets import CIFAR100 as CIFAR100, DATASETS as DATASETS, TINYIMAGENET as TINYIMAGENET
from .download import fetch_file as fetch_file
from .in_properties import read_properties as read_properties
from .picture_files import center_crop as center_crop, one_channel as one_channel
from .sources import SOURCES as SOURCES, load_images as load_images
