"""Where the data sets come from: what to download, under which terms, and what is read of it.

Only stated where it is known; addresses change, so people are named before links. Nothing here is
downloaded for anyone: the owners' terms are theirs to accept.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One data set on disk, in words."""

    title: str
    owner: str
    terms: str
    sizes: str
    layouts: tuple[str, ...]  # what is read, each with where it comes from
    notes: tuple[str, ...] = ()


SOURCES: dict[str, Source] = {
    "nyud": Source(
        title="NYU Depth v2 (NYUD-v2)",
        owner="New York University: Silberman, Hoiem, Kohli and Fergus, ECCV 2012",
        terms="see the owners' page",
        sizes="795 training and 654 test images of 1,449, 480x640",
        layouts=(
            "nyuv2/{train,val}/{image,label,depth,normal}/0.npy: 288x384, 13 classes; from the "
            "authors of MTAN (github.com/lorenmt/mtan). What [XTC] and [HiTTs] train on.",
            "nyu_depth_v2_labeled.mat (2.8 GB) from the owners, with splits.mat, "
            "classMapping40.mat and class13Mapping.mat from github.com/ankurhanda/nyuv2-meta-data; "
            "normals from nyu_normals_gt/ of Ladicky beside it, or computed from the depth.",
            "NYUD_MT/{gt_sets,images,segmentation,depth,normals}: 40 classes, in three variants; "
            "from ASTMT (github.com/facebookresearch/astmt) and the works after it "
            "(github.com/SimonVandenhende/Multi-Task-Learning-PyTorch, "
            "github.com/prismformore/Multi-Task-Transformer).",
            "NYUv2/{image,seg13,seg40,depth,normal}/{train,test}/00003.png: made from the "
            "owners' file by github.com/nidham-sony/nyuv2-python-toolkit.",
        ),
        notes=(
            "The preprocessing of the first layout is lost: borders were cropped before resizing, "
            "so a conversion of the others is close to it, not equal.",
            "Eigen's normals, which it used, are not public any more since November 2022.",
        ),
    ),
    "cityscapes": Source(
        title="Cityscapes",
        owner="the Cityscapes team (cityscapes-dataset.com): Cordts et al., CVPR 2016",
        terms="registration, and the owners' license",
        sizes="2,975 training and 500 validation images, 1024x2048",
        layouts=(
            "{leftImg8bit,gtFine,disparity}/{train,val}/<city>/: the owners' packages "
            "leftImg8bit_trainvaltest, gtFine_trainvaltest and disparity_trainvaltest, unpacked "
            "into one folder.",
            "cityscapes2/{train,val}/{image,label_7,depth}/0.npy: 128x256; from the authors of "
            "MTAN. Depth is the disparity divided by 65535.",
        ),
        notes=("Which image a number of the .npy files is was never published.",),
    ),
    "pascal_context": Source(
        title="PASCAL-Context with the labels of PASCAL_MT",
        owner="Mottaghi et al., CVPR 2014 (Context); Chen et al., CVPR 2014 (Part); Maninis, "
        "Radosavovic and Kokkinos, CVPR 2019 (PASCAL_MT)",
        terms="those of PASCAL VOC, whose images come from Flickr; see the owners' pages",
        sizes="4,998 training and 5,105 validation images",
        layouts=(
            "PASCAL_MT/{JPEGImages,pascal-context,semseg,human_parts,normals_distill,sal_distill,"
            "ImageSets}: the archive of ASTMT (github.com/facebookresearch/astmt) or of "
            "github.com/SimonVandenhende/Multi-Task-Learning-PyTorch.",
            "{train,val}/{image,semseg,human_parts,normals,saliency,edges}/0.npy with ids.txt and "
            "people.txt: what `data convert` makes of it.",
        ),
        notes=("Normals and saliency are predictions of other networks, not annotations.",),
    ),
    "own": Source(
        title="Your own images",
        owner="you",
        terms="yours",
        sizes="any number of images of any size, each with the labels you have",
        layouts=(
            "mtpsl.toml and {train,test}/{image,semseg,depth,normals,human_parts,saliency,edges}/"
            "<name>.png: a missing file is a missing label. notebooks/99_your_own_data explains "
            "it in a dozen lines.",
        ),
    ),
}
"""Data set on disk, as in ``DATASETS`` -> its source."""

SPLIT_FILES = (
    "Which image keeps which label: data/*_settings/{onelabel,randomlabels} in "
    "github.com/VICO-UoE/MTPSL, under the MIT license; .pth for NYUD-v2 and Cityscapes, tied to "
    "the numbers of the .npy files, and .npy for PASCAL-Context, tied to the names of the images."
)


def sources_text() -> str:
    """All of it, for the command line."""
    lines = ["Stand-ins need no download: rooms13, streets7 and people21 are generated."]
    for name, source in SOURCES.items():
        lines += ["", f"{name}: {source.title}", f"  owner    {source.owner}"]
        lines += [f"  terms    {source.terms}", f"  holds    {source.sizes}"]
        lines += [f"  layout   {layout}" for layout in source.layouts]
        lines += [f"  note     {note}" for note in source.notes]
    lines += ["", f"label splits: {SPLIT_FILES}", ""]
    lines += ["then: python -m mtpsl data check FOLDER"]
    return "\n".join(lines)
