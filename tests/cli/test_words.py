import pytest

from mentorch import UsageError, losses
from mentorch.cli import _app, _words
from mentorch.cli._words import gather

OWN = ("--method", "--methods", "--lr", "--set", "--help", "--seeds")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("compare --methods kd pkt -q", "compare --methods kd,pkt -q"),
        ("compare --methods kd, pkt, kd+pkt", "compare --methods kd,pkt,kd+pkt"),
        ("compare -m kd pkt --seeds 0 1", "compare -m kd,pkt --seeds 0,1"),
        ("compare a b c --lr 1", "compare --teacher a --student b --data c --lr 1"),
        ("compare a", "compare --teacher a"),
        ("compare --teacher-mean 0.1 0.2 --teacher-std 1 2", "compare --teacher-mean 0.1,0.2 --teacher-std 1,2"),
        ("compare --weight kd=1 pkt=2 --epochs 3", "compare --weight kd=1,pkt=2 --epochs 3"),
        ("train --betas 0.9 0.99", "train --betas 0.9,0.99"),
        ("train --lr-milestones 0.5", "train --lr-milestones 0.5"),
        ("run a.yaml --name b", "run a.yaml --name b"),
        ("report a b --out c", "report a b --out c"),
        ("", ""),
        ("train --seeds", "train --seeds"),
        ("compare --methods=kd", "compare --methods=kd"),
    ],
)  # fmt: skip
def test_lists_may_be_written_with_spaces_and_nouns_without_names(given: str, expected: str) -> None:
    assert gather(given.split()) == expected.split()


def test_a_path_with_a_space_stays_one_word() -> None:
    assert gather(["compare", "my runs/big", "cnn_tiny"])[1:3] == ["--teacher", "my runs/big"]
    assert gather(["compare", "--teacher", "a b", "c"])[-1] == "a b,c"


@pytest.mark.parametrize("given", ["a --lr 1 --teacher b", "a b --student=c", "a b c --data d"])
def test_a_noun_with_and_without_its_name_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"'[abc]' is the \w+ already, and --\w+ names another: say only one"):
        gather(["compare", *given.split()])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("distill a b c --method dkd --beta 8", "distill --teacher a --student b --data c --method dkd --set beta=8"),
        ("distill --beta=8 --lr 1", "distill --lr 1 --set beta=8"),
        ("distill --set a.x=1 y=2 --temperature 4", "distill --set a.x=1,y=2,temperature=4"),
        ("distill --set=y=2 --set x=1", "distill --set y=2,x=1"),
        ("distill --dkd.beta 2 --standardized-kd.beta 3", "distill --set dkd.beta=2,standardized-kd.beta=3"),
        ("distill --no-t-squared --method kd", "distill --method kd --set t_squared=false"),
        ("distill --t-squared --method kd", "distill --method kd --set t_squared=true"),
        ("distill --kd.t-squared=no", "distill --set kd.t_squared=no"),
        ("distill -t 4", "distill --set temperature=4"),
        ("distill --margin -1", "distill --set margin=-1"),
        ("compare --methods dkd:beta=2 kd --seeds 0 1", "compare --methods dkd:beta=2,kd --seeds 0,1"),
    ],
)  # fmt: skip
def test_options_of_losses_are_gathered(given: str, expected: str) -> None:
    assert gather(given.split(), OWN) == expected.split()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("distill --betta 8", "No such option: --betta. Did you mean --beta?"),
        ("distill --sedes 8", "No such option: --sedes. Did you mean --seeds?"),
        ("distill --zzzzzz", "'mentorch methods NAME'"),
        ("distill --beta", "--beta needs a value"),
        ("distill --beta --lr 1", "--beta needs a value"),
        ("distill --no-beta 8", "No such option: --no-beta"),
        ("distill --no-t-squared=1", "No such option: --no-t-squared"),
        ("distill --student-head x", "No such option: --student-head"),
    ],
)
def test_what_is_no_option_is_refused(given: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        gather(given.split(), OWN)
    assert complaint in str(error.value)


def test_options_of_losses_collide_with_one_option_of_a_command() -> None:
    taken = {option.name for info in losses.catalogue().values() for option in losses.options(info).values()}
    for command in ("compare", "distill"):
        own = _app.own_options(command)
        assert {"--set", "--lr", "--json", "--no-tensorboard", "--help"} <= own
        # what a command means by a word comes first; crd's is written --crd.momentum
        assert own & {_words.flag(name) for name in taken} == {"--momentum"}


def test_only_transfers_take_options_of_losses() -> None:
    for name in _app.COMMANDS:
        assert bool(_app.own_options(name)) == (name in ("compare", "distill"))
