from ._activation import (
    ActivationCache as ActivationCache,
    activation as activation,
    activation_vjp as activation_vjp,
)
from ._attention import (
    AttentionGrads as AttentionGrads,
    attention as attention,
    attention_varlen as attention_varlen,
    attention_vjp as attention_vjp,
    merge_attention as merge_attention,
)
from ._contextual_sparsity import (
    CorrectedDecode as CorrectedDecode,
    NeuronCache as NeuronCache,
    accept_prefix as accept_prefix,
    corrected_decode as corrected_decode,
    gated_mlp as gated_mlp,
    select_neurons as select_neurons,
    sparse_gated_mlp as sparse_gated_mlp,
)
from ._convolution import (
    Conv2dCache as Conv2dCache,
    Conv2dGrads as Conv2dGrads,
    conv2d as conv2d,
    conv2d_vjp as conv2d_vjp,
)
from ._dense import (
    DenseCache as DenseCache,
    DenseGrads as DenseGrads,
    dense as dense,
    dense_vjp as dense_vjp,
)
from ._embedding import (
    EmbeddingCache as EmbeddingCache,
    embedding as embedding,
    embedding_vjp as embedding_vjp,
)
from ._explanations import (
    Explanation as Explanation,
    explain as explain,
    faithfulness as faithfulness,
    local_approximation as local_approximation,
    shapley_kernel_weights as shapley_kernel_weights,
)
from ._gradient_matching import (
    Partition as Partition,
    gradient_distance as gradient_distance,
    gradient_distance_matrix as gradient_distance_matrix,
    min_cut_partition as min_cut_partition,
    select_split as select_split,
    split_supernet as split_supernet,
)
from ._lipschitz import (
    Conv2d as Conv2d,
    LipschitzBound as LipschitzBound,
    jacobian_bounds as jacobian_bounds,
    local_lipschitz as local_lipschitz,
    monotonicity as monotonicity,
    output_bounds as output_bounds,
)
from ._losses import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    huber as huber,
    mse as mse,
    softmax_cross_entropy as softmax_cross_entropy,
)
from ._lstm import (
    LSTMCache as LSTMCache,
    LSTMCellCache as LSTMCellCache,
    LSTMGrads as LSTMGrads,
    lstm as lstm,
    lstm_cell as lstm_cell,
    lstm_cell_vjp as lstm_cell_vjp,
    lstm_vjp as lstm_vjp,
)
from ._network import (
    MLP as MLP,
    MLPCache as MLPCache,
    MLPGrads as MLPGrads,
    MLPTaylorCache as MLPTaylorCache,
)
from ._normalization import (
    BatchNormCache as BatchNormCache,
    LayerNormCache as LayerNormCache,
    NormGrads as NormGrads,
    RMSNormCache as RMSNormCache,
    RMSNormGrads as RMSNormGrads,
    RunningStatistics as RunningStatistics,
    batch_norm as batch_norm,
    batch_norm_vjp as batch_norm_vjp,
    layer_norm as layer_norm,
    layer_norm_vjp as layer_norm_vjp,
    rms_norm as rms_norm,
    rms_norm_vjp as rms_norm_vjp,
)
from ._optim import Adam as Adam, clip_grad_norm as clip_grad_norm
from ._permutation_learning import (
    NTKRegressor as NTKRegressor,
    PermutationEnsemble as PermutationEnsemble,
    ensemble_size as ensemble_size,
    nngp as nngp,
    ntk as ntk,
    permutation_mean as permutation_mean,
    permutation_variance as permutation_variance,
)
from ._pooling import (
    AvgPool2dCache as AvgPool2dCache,
    MaxPool2dCache as MaxPool2dCache,
    avg_pool2d as avg_pool2d,
    avg_pool2d_vjp as avg_pool2d_vjp,
    max_pool2d as max_pool2d,
    max_pool2d_vjp as max_pool2d_vjp,
)
from ._power_norm import (
    GroupScaleCache as GroupScaleCache,
    PowerNorm as PowerNorm,
    PowerNormCache as PowerNormCache,
    PowerNormGrads as PowerNormGrads,
    PowerNormLayerCache as PowerNormLayerCache,
    PowerNormLayerGrads as PowerNormLayerGrads,
    group_scale as group_scale,
    group_scale_vjp as group_scale_vjp,
    power_norm as power_norm,
    power_norm_vjp as power_norm_vjp,
)
from ._spectral import (
    SpectralConv1dCache as SpectralConv1dCache,
    SpectralConv2dCache as SpectralConv2dCache,
    SpectralConvGrads as SpectralConvGrads,
    spectral_conv1d as spectral_conv1d,
    spectral_conv1d_vjp as spectral_conv1d_vjp,
    spectral_conv2d as spectral_conv2d,
    spectral_conv2d_vjp as spectral_conv2d_vjp,
)
