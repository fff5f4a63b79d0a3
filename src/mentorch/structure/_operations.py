"""Which rule belongs to which operation of torch."""

from collections.abc import Callable, Mapping
from typing import Any

from mentorch.structure import _layer_rules as layers
from mentorch.structure import _tensor_rules as tensors

Rule = Callable[..., Any]


def _by_name(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    return {name: rule for names, rule in rules.items() for name in names.split()}


# a layer: its parameters are known by name
LAYERS = _by_name(
    {
        "conv1d conv2d conv3d": layers.convolution,
        "conv_transpose1d conv_transpose2d conv_transpose3d": layers.transposed,
        "linear": layers.linear,
        "batch_norm instance_norm prelu": layers.per_channel,
        "layer_norm group_norm rms_norm local_response_norm normalize": layers.normalize,
        "multi_head_attention_forward": layers.multi_head,
    }
)
# anything else: a parameter is a tensor like the others
TENSORS = _by_name(
    {
        # each element becomes another value of the same channel
        """relu relu6 leaky_relu rrelu elu selu celu gelu silu mish sigmoid log_sigmoid tanh tanhshrink hardtanh
        hardswish hardsigmoid hardshrink softshrink softsign softplus threshold abs neg exp log log1p sqrt
        rsqrt square reciprocal erf sin cos sign dropout dropout1d dropout2d dropout3d alpha_dropout
        feature_alpha_dropout contiguous clone detach to type type_as float double half bfloat16 requires_grad
        nan_to_num""": tensors.same,
        # elements in one place belong together
        """add radd iadd sub subtract rsub isub mul multiply rmul imul div divide true_divide truediv rdiv idiv
        maximum minimum where lerp addcmul addcdiv masked_fill pow rpow clamp clip clamp_min clamp_max""": tensors.pair,
        # elements change their place only
        """view view_as reshape reshape_as flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t
        unsqueeze squeeze expand expand_as repeat repeat_interleave tile chunk split split_with_sizes tensor_split
        unbind narrow select getitem index_select roll flip stack vstack hstack channel_shuffle native_channel_shuffle
        pixel_shuffle pixel_unshuffle unfold unsafe_chunk unsafe_split broadcast_to get""": tensors.move,
        "cat concat concatenate": tensors.concatenate,
        "pad": tensors.pad_channels,
        # positions are mixed, channels are not
        """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d lp_pool1d lp_pool2d lp_pool3d
        interpolate""": tensors.pool,
        """max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices
        adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices""": tensors.pool_with_places,
        "max_unpool1d max_unpool2d max_unpool3d": tensors.unpool,
        "scatter": tensors.scatter,
        "mean sum prod amax amin logsumexp": tensors.reduce,
        "std var": tensors.spread,
        "norm linalg_vector_norm": tensors.norm,
        "glu": tensors.gated,
        "softmax log_softmax softmin": tensors.softmax,
        "matmul rmatmul bmm": tensors.product,
        "scaled_dot_product_attention": tensors.attention,
        # facts about a tensor, and tensors that have its shape only
        """size dim ndimension numel nelement len stride is_contiguous is_floating_point is_complex get_device
        element_size storage_offset new_zeros new_ones new_full new_empty zeros_like ones_like full_like
        empty_like""": tensors.ask,
    }
)
