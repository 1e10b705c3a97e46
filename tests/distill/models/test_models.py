import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from kdsearch.distill.models import adapt_input_channels, build_model, head_modules, head_parameters
from kdsearch.distill.models.layers import halved
from kdsearch.distill.models.vit import position_code
from kdsearch.errors import RequestError
from kdsearch.spec.catalogue import CIFAR_ARCHITECTURES

# Trainable parameters at 100 and 10 classes, multiply-adds of one 3×32×32 image at 100 classes, and
# the first and last keys of the state dict, as the networks of published CIFAR checkpoints have them.
RESNET_KEYS = (["conv1.weight", "bn1.weight", "bn1.bias"], ["fc.weight", "fc.bias"])
WIDE_KEYS = (
    ["conv1.weight", "block1.layer.0.bn1.weight", "block1.layer.0.bn1.bias"],
    ["fc.weight", "fc.bias"],
)
VGG_KEYS = (
    ["block0.0.weight", "block0.0.bias", "block0.1.weight"],
    ["classifier.weight", "classifier.bias"],
)
LINEAR_KEYS = (["conv1.weight", "bn1.weight", "bn1.bias"], ["linear.weight", "linear.bias"])
MOBILE_KEYS = (
    ["conv1.0.weight", "conv1.1.weight", "conv1.1.bias"],
    ["classifier.0.weight", "classifier.0.bias"],
)
REFERENCE = {
    "resnet8": (83_892, 78_042, 12_507_392, RESNET_KEYS),
    "resnet14": (181_108, 175_258, 26_663_168, RESNET_KEYS),
    "resnet20": (278_324, 272_474, 40_818_944, RESNET_KEYS),
    "resnet32": (472_756, 466_906, 69_130_496, RESNET_KEYS),
    "resnet44": (667_188, 661_338, 97_442_048, RESNET_KEYS),
    "resnet56": (861_620, 855_770, 125_753_600, RESNET_KEYS),
    "resnet110": (1_736_564, 1_730_714, 253_155_584, RESNET_KEYS),
    "resnet8x4": (1_233_540, 1_210_410, 177_071_104, RESNET_KEYS),
    "resnet32x4": (7_433_860, 7_410_730, 1_083_040_768, RESNET_KEYS),
    "resnet18": (11_220_132, 11_173_962, 555_468_800, LINEAR_KEYS),
    "resnet50": (23_705_252, 23_520_842, 1_298_014_208, LINEAR_KEYS),
    "wrn_16_1": (180_916, 175_066, 26_663_168, WIDE_KEYS),
    "wrn_16_2": (703_284, 691_674, 101_118_464, WIDE_KEYS),
    "wrn_40_1": (569_780, 563_930, 83_286_272, WIDE_KEYS),
    "wrn_40_2": (2_255_156, 2_243_546, 327_610_880, WIDE_KEYS),
    "vgg8": (3_965_028, 3_918_858, 96_192_512, VGG_KEYS),
    "vgg11": (9_277_284, 9_231_114, 209_438_720, VGG_KEYS),
    "vgg13": (9_462_180, 9_416_010, 284_936_192, VGG_KEYS),
    "vgg16": (14_774_436, 14_728_266, 398_182_400, VGG_KEYS),
    "vgg19": (20_086_692, 20_040_522, 511_428_608, VGG_KEYS),
    "mobilenet_v2_half": (812_836, 697_546, 6_523_648, MOBILE_KEYS),
    "shufflenet_v1": (949_258, 862_768, 38_691_456, LINEAR_KEYS),
    "shufflenet_v2": (1_355_528, 1_263_278, 44_504_448, LINEAR_KEYS),
}


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model, size):
    counts = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, _, out: counts.append(out.numel() * m.weight[0].numel()))
    model.eval()(torch.empty(1, 3, size, size, device="meta"))
    return sum(counts)


def on_meta(arch, num_classes):
    with torch.device("meta"):
        return build_model(arch, num_classes)


def test_the_reference_covers_every_cifar_architecture():
    assert set(REFERENCE) == set(CIFAR_ARCHITECTURES)


@pytest.mark.parametrize("arch", CIFAR_ARCHITECTURES)
def test_cifar_families_are_those_of_published_checkpoints(arch):
    parameters_100, parameters_10, mac_count, (first, last) = REFERENCE[arch]
    model = on_meta(arch, 100)
    assert n_parameters(model) == parameters_100
    assert n_parameters(on_meta(arch, 10)) == parameters_10
    assert multiply_adds(model, 32) == mac_count
    keys = list(model.state_dict())
    assert (keys[:3], keys[-2:]) == (first, last)


@pytest.mark.parametrize(
    ("arch", "count"),
    [("convnet_8_16", 1_442), ("convnet_32_64_128", 94_186), ("mlp_64_32", 6_570)],
)
def test_small_networks_have_the_parameters_of_their_widths(arch, count):
    assert n_parameters(build_model(arch, 10, 1, image_size=8)) == count


def test_vit_has_the_parameters_of_its_layers():
    width, depth, patch = 32, 3, 2
    per_layer = 2 * 2 * width + (width + 1) * 3 * width + (width + 1) * width
    per_layer += (width + 1) * 4 * width + (4 * width + 1) * width
    ends = (patch * patch + 1) * width + 2 * width + (width + 1) * 10
    model = build_model("vit_32_3", 10, 1, image_size=8)
    assert n_parameters(model) == depth * per_layer + ends
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_vit_weights_load_at_another_image_size():
    small, large = (build_model("vit_16_1", 10, image_size=size) for size in (32, 64))
    large.load_state_dict(small.state_dict())
    assert large(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


def test_position_code_tells_every_patch_apart():
    code = position_code(8, 32)
    assert code.shape == (64, 32)
    distances = torch.cdist(code, code) + 9 * torch.eye(64)
    assert float(distances.min()) > 0.1


VECTORISED = [
    *("convnet_4_8", "mlp_8_4", "vit_16_2", "resnet8", "wrn_16_1", "vgg8"),
    *("mobilenet_v2_half", "shufflenet_v1", "shufflenet_v2"),
]


@pytest.mark.parametrize("arch", VECTORISED)
def test_networks_vectorise_over_students(arch):
    models = [
        build_model(arch, 5, image_size=16, generator=torch.Generator().manual_seed(seed)).double()
        for seed in (0, 1)
    ]
    images = torch.randn(6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    parameters, buffers = stack_module_state(models)
    buffers = {name: buffer.contiguous() for name, buffer in buffers.items()}
    base = models[0]
    fused = vmap(lambda p, b, x: functional_call(base, (p, b), (x,)), (0, 0, None))(
        parameters, buffers, images
    )
    gradients = torch.autograd.grad(fused.square().sum(), list(parameters.values()))
    for k, model in enumerate(models):
        logits = model(images)
        torch.testing.assert_close(fused[k], logits)
        own = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        for together, alone in zip(gradients, own, strict=True):
            torch.testing.assert_close(together[k], alone, rtol=1e-7, atol=1e-8)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[name][k], buffer)


@pytest.mark.parametrize("arch", ["convnet_8_16", "resnet8", "vit_16_1", "torchvision:squeezenet1_1"])
def test_weights_are_the_generators_alone(arch):
    def weights(seed):
        generator = torch.Generator().manual_seed(seed)
        return nn.utils.parameters_to_vector(build_model(arch, 10, generator=generator).parameters())

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


def test_a_generator_gives_one_student_after_another():
    generator = torch.Generator().manual_seed(0)
    first, second = (build_model("mlp_4", 3, generator=generator) for _ in range(2))
    assert not torch.equal(first.fc.weight, second.fc.weight)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 8), (7, 8), (8, 5), (3, 3), (2, 2)])
def test_halving_without_gradients_is_torchs_max_pooling(size, layout):
    features = torch.randn(4, 3, *size, generator=torch.Generator().manual_seed(0))
    features[0, 0, 0, 0] = torch.nan
    features = features.contiguous(memory_format=layout)
    expected = F.max_pool2d(features, 2)
    with torch.no_grad():
        found = halved(features)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("size", [8, 28, 32, 64])
@pytest.mark.parametrize("arch", ["convnet_4_4_4_4_4", "resnet8", "vgg8", "mobilenet_v2_half", "vit_16_1"])
def test_networks_take_images_of_many_sizes(arch, size):
    model = build_model(arch, 4, 1, image_size=size).eval()
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 4)


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("resnet9", {}, r"must be a known architecture, got 'resnet9'. Did you mean"),
        ("resnet8", {"stem": "small"}, r"`stem` must be standard for 'resnet8'"),
        (
            "torchvision:squeezenet1_1",
            {"stem": "small"},
            r"`stem` must be standard for 'torchvision:squeezenet1_1'",
        ),
        ("vit_20_2", {}, r"multiple of 16, got 'vit_20_2'. Take vit_16_2"),
        ("vit_16_2", {"image_size": 30}, r"`dataset.image_size` must be a multiple of 4 .* Set it to 32"),
    ],
)
def test_networks_that_do_not_fit_are_refused(arch, options, message):
    with pytest.raises(RequestError, match=message):
        build_model(arch, 10, **options)


def test_the_head_of_our_networks_is_the_last_linear_layer():
    assert head_modules(build_model("resnet8", 10)) == ("fc",)
    assert head_modules(build_model("mobilenet_v2_half", 10)) == ("classifier.0",)


class HeadFirst(nn.Module):
    """Defines its head before its body, and scales what it gives."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(8, num_classes)
        self.scale = nn.Parameter(torch.ones(()))
        self.body = nn.Conv2d(3, 8, 3)

    def forward(self, images):
        return self.scale * self.head(self.body(images).mean((2, 3)))


class TwoHeads(HeadFirst):
    """Averages two heads, as distilled transformers do; its last layer is neither."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.other = nn.utils.parametrizations.weight_norm(nn.Linear(8, num_classes))
        self.last = nn.Linear(8, 8)

    def forward(self, images):
        features = self.last(self.body(images).mean((2, 3)))
        return (self.head(features) + self.other(features)) / 2


class NamelessHead(nn.Module):
    """A cosine classifier, whose weight belongs to no layer."""

    def __init__(self, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, 8))
        self.body = nn.Conv2d(3, 8, 3)

    def forward(self, images):
        features = nn.functional.normalize(self.body(images).mean((2, 3)))
        return 10 * nn.functional.linear(features, nn.functional.normalize(self.weight))


def head_first(num_classes):
    return HeadFirst(num_classes)


def two_heads(num_classes):
    return TwoHeads(num_classes)


def nameless_head(num_classes):
    return NamelessHead(num_classes)


def seven_classes():
    return HeadFirst(7)


@pytest.mark.parametrize(
    ("factory", "head"),
    [
        ("head_first", {"scale", "head.weight", "head.bias"}),
        ("two_heads", {"head.weight", "head.bias", "other.bias"}),
        ("nameless_head", {"weight"}),
        ("seven_classes", {"scale", "head.weight", "head.bias"}),
    ],
)
def test_the_head_is_what_the_logits_come_from(factory, head):
    model = build_model(f"{__name__}:{factory}", 10, image_size=8)
    found = set(head_parameters(model))
    assert head <= found
    assert not any(name.startswith(("body", "last")) for name in found)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_input_channels_are_adapted_so_that_grey_is_grey():
    colour = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    grey_picture = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    expected = nn.functional.conv2d(grey_picture.expand(-1, 3, -1, -1), colour)
    grey = adapt_input_channels(colour, 1)
    torch.testing.assert_close(nn.functional.conv2d(grey_picture, grey), expected)
    back = adapt_input_channels(grey, 3)
    torch.testing.assert_close(nn.functional.conv2d(grey_picture.expand(-1, 3, -1, -1), back), expected)
