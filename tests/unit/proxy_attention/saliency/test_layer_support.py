"""Which layers a network has that a method has no rule for."""

from saliency_toys import Toy
from torch import nn

from proxy_attention.saliency.attributions import ATTRIBUTIONS
from proxy_attention.saliency.layer_support import lacks_relu_alone, lacks_rules, names, used_twice


def toy(*layers):
    return Toy(nn.Sequential(nn.Conv2d(3, 4, 3), *layers, nn.Flatten(), nn.LazyLinear(2)), image_size=8, classes=2)


def test_every_activation_must_be_a_relu_and_there_must_be_one():
    assert lacks_relu_alone(toy(nn.ReLU(), nn.ReLU(inplace=True))) is None
    assert lacks_relu_alone(toy(nn.ReLU(), nn.GELU(), nn.Sigmoid())) == "no ReLU alone (but GELU, Sigmoid)"
    assert lacks_relu_alone(toy()) == "no ReLU"


def test_layers_that_are_affine_or_have_a_rule_are_enough():
    bent = (nn.ReLU, nn.MaxPool2d)

    assert lacks_rules(toy(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout()), bent) is None
    assert lacks_rules(toy(nn.LayerNorm(6), nn.Tanh()), bent) == "no layers with a rule alone (but LayerNorm, Tanh)"


def test_a_subclass_of_an_affine_layer_has_its_rule_and_that_of_a_bent_one_has_none():
    class Straight(nn.Conv2d):
        pass

    class Bent(nn.ReLU):
        pass

    assert lacks_rules(toy(Straight(4, 4, 1)), (nn.ReLU,)) is None
    assert lacks_rules(toy(Bent()), (nn.ReLU,)) == "no layers with a rule alone (but Bent)"


def test_a_layer_that_is_used_twice_has_no_rule():
    relu = nn.ReLU()
    module = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.Flatten(), nn.Linear(64, 2))
    model = Toy(module, image_size=8, classes=2)

    assert ATTRIBUTIONS["deeplift"].lacks(model) == "no use of each layer but once (ReLU twice)"
    assert ATTRIBUTIONS["guided-backprop"].lacks(model) is None


def test_layers_that_are_used_twice_are_found_without_a_trace():
    once, twice = nn.ReLU(), nn.ReLU()
    model = toy(once, twice, nn.BatchNorm2d(4), twice)
    model.module.train()
    model.module[0].eval()

    assert used_twice(model, [once, twice, twice]) == [twice]
    assert [module.training for module in model.module] == [False, True, True, True, True, True, True]
    assert model.module[3].num_batches_tracked == 0
    assert not once._forward_hooks


def test_names_are_the_types_once_each_in_order():
    assert names([nn.ReLU(), nn.GELU(), nn.ReLU()]) == "GELU, ReLU"
    assert names([]) == ""
