"""What HiTTs' paper leaves open and how it is decided here, and where the authors' code differs.

Their code (github.com/Evergreen0929/EEMTL) was released later than the paper, for another backbone
and another recipe: ResNet-18 from ImageNet, trained as DiffusionMTL is. What it does was read and
decides where the paper says nothing and Table 8's cost agrees; no line of it is used.
"""

CHOICES: dict[str, str] = {
    "F_s": "the decoder's output, 64 channels at full resolution (Table 8 excludes the bottleneck)",
    "F_s on ResNet-18": "Eq. 17's fused features, on one scale the last stage's output; 512 "
    "channels at 1/8",
    "query of F_s": "F_i is F_s times a gate, the sigmoid of theta_i . F_s after one factor and "
    "offset per channel",
    "token init": "N(0, 1); every layer Xavier-normal without bias, so the gate's factors start at "
    "sqrt(2/(C+1))",
    "Eq. 1": "divided by sqrt(C); Q and K are linear with bias",
    "Eq. 2": "then a 3x3 convolution per task, with BatchNorm and ReLU, on the grid of F_s",
    "self-attention": "one head, no norm, no position code, on cells of 1/8 of the image; "
    "upsampled and added to F_i, then a 3x3 convolution with BatchNorm and ReLU; theta'_i has no "
    "residual",
    "H x W": "the grid of F_s; G'_i is upsampled bilinearly where that is smaller than the image",
    "ASPP": "the baseline's head, with 256 outputs, stands between inter- and intra-task learning",
    "Eq. 3": "o is the identity; W^o is linear with bias",
    "MLP_i": "along the class axis: three linear layers, 128 wide, with LayerNorm and GELU; "
    "without orthogonal embeddings it reads copies of theta'_i",
    "Eq. 4": "phi_i x F'_i with C channels, because phi_i x G_i is not defined; F'_i after one "
    "factor and offset per channel",
    "M^f": "of theta'_i and F'_i after intra-task learning, as printed: no 1/sqrt(C)",
    "pseudo label": "argmax bin; its center is the target of L_reg, re-binned after augmentation. "
    "pseudo='soft' with temperature=5: Eq. 10's value, L1 weighted by confidence, no L_cls",
    "teacher": "labels clean images once, offline (Sec. 4.1). teacher='online': the very views "
    "that the student sees",
    "M^f in L_f": "the frozen teacher's, saved with its features and warped like them",
    "L_mse": "mean over channels and cells of 1/8 of the image, over which F'_i is averaged (every "
    "pixel of 64 channels would be 42 MB per image); cells beyond a turned image are 0",
    "M^p in L_p": "a mean over all pixels of an image, where those not accepted count as 0",
    "L_reg of normals": "1 - cosine; on PASCAL-Context the L1 of its protocol. normals_loss='l1': "
    "their L1 distance, a sum over channels",
    "Eq. 13": "as printed, 0.1 L_reg + L_cls. mixture='released': L_reg + 0.1 L_cls",
    "batch": "per-image losses, summed over labeled images, divided by the batch size",
    "loss weights": "1 for every task and term on NYUD-v2 and Cityscapes; on PASCAL-Context the "
    "protocol's multiply the losses they were chosen for, so not L_cls of normals, nor L_f; with "
    "mixture='released' both",
    "saliency, edges": "two classes; L_cls is the task's balanced loss of their logits' difference",
    "depth bins": "over the labeled values, zoom included. depth_range=(low, high): over these",
    "uniform normals": "a golden-angle spiral over the whole sphere. normal_centers_from="
    "'half_sphere': over the half that faces the camera",
    "Eq. 14 to 18": "tokens of scale j have its C_j channels; all W are linear with bias",
    "one grid in Eq. 17": "1/8, the last stage's: the finer first stage is averaged over its "
    "cells. fusion_stride=4: the finest, coarser ones bilinear",
    "sum of Eq. 18": "over the four scales of Eq. 14 and 17; it is printed to 5",
}
"""What the paper leaves open -> what this folder does; arguments that change it are named."""

RELEASED: dict[str, str] = {
    "tokens": "frozen and not saved: drawn anew from seed 0",
    "theta'_i": "averaged over the batch, at test time too",
    "grid of L_f": "F'_i's own",
    "multi-scale": "also on NYUD-v2; ResNet-18 not dilated, from ImageNet; fused at 1/4",
    "ASPP": "its 3x3 convolution has no norm and no ReLU, and no 1x1 follows",
    "upsampling": "of predictions; here of logits",
    "Eq. 5 to 7": "T times as much: divided by B / T",
    "pseudo labels": "made online on augmented views, soft for depth and normals",
    "saliency, edges": "L_p of saliency is almost always 0, that of edges reads the unsure pixels",
    "edges": "one channel",
    "thresholds": "others than Appendix B's, of the logits times 5 for depth and normals",
    "Eq. 13": "L_reg + 0.1 L_cls, tasks weighted 1 / 0.6 / 1; L1 of normals, summed over channels",
    "bins": "0.67 to 10 m, both ends centers; 40 normals on a random half sphere, no K-means",
    "recipe": "100 epochs a stage, Adam 2e-5, weight decay 1e-6, gradients clipped to norm 10, "
    "batch 6, zoom 0.5 to 2 and changes of color, crops chosen with withheld labels in sight",
}
"""What the authors' released code does and this folder, by default, does not."""
