"""Optimizers train as torch's own do, without its compiler as long as nobody asks for it, and with it afterwards.

A process of its own for each test: in this one other tests may have imported the compiler, or made optimizers.
"""

import subprocess
import sys

SESSION = """
import sys, torch, labkit
from labkit.lab.training import fit

lab = labkit.start("01_autoencoders")
model, data = torch.nn.Linear(3, 1), torch.ones(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
for options in ({}, {"optimizer": optimizer, "schedule": schedule}):
    fit(model, lambda model, x, generator: model(x).square().mean(), data, epochs=2, batch_size=4,
        generator=lab.generator("batches"), **options)
optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
"""

WITH_COMPILER = """
step = torch.compile(optimizer.step, backend="eager")
assert "torch._dynamo" in sys.modules
weight = model.weight.detach().clone()
model(data).sum().backward()
step()
optimizer.zero_grad()
assert model.weight.grad is None and not torch.equal(model.weight, weight)
assert torch.equal(torch.compile(model, backend="eager")(data), model(data))
"""

EVERY_OPTIMIZER = """
import sys, torch
from labkit.lab.optimizers import leave_out_compiler

def trained(name):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2, bias=name != "Muon")
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01)

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(4, 3)) - 1).square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        assert optimizer.step(closure).requires_grad and torch.is_grad_enabled()
    return model.weight.detach()

names = [name for name, kind in vars(torch.optim).items() if isinstance(kind, type)]
names = sorted(set(names) - {"Optimizer", "SparseAdam"})  # SparseAdam takes no dense gradients
if "light" in sys.argv:
    leave_out_compiler()
    leave_out_compiler()
weights = {name: trained(name) for name in names}
assert ("torch._dynamo" in sys.modules) == ("light" not in sys.argv), sorted(sys.modules)
print({name: weight.tolist() for name, weight in weights.items()})
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_session_that_trains_does_not_import_the_compiler() -> None:
    run(SESSION)


def test_what_is_compiled_afterwards_works_as_ever() -> None:
    run(SESSION + WITH_COMPILER)


def test_every_optimizer_takes_the_same_steps_without_the_compiler() -> None:
    assert run(EVERY_OPTIMIZER) == run(EVERY_OPTIMIZER, "light")
