import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentorch import gates
from mentorch._edge import describe_gate
from mentorch.reports._links import Link, plan, weights_of

UNIT = st.floats(0, 1)
GATES = st.one_of(
    st.builds(gates.Linear, UNIT, UNIT),
    st.builds(gates.Cosine, UNIT, UNIT),
    st.builds(lambda a, b: gates.Between(min(a, b), max(a, b), 0.5), UNIT, UNIT),
    st.builds(gates.Steps, st.tuples(UNIT, UNIT), UNIT),
    st.builds(gates.Warmup, UNIT, st.builds(gates.Linear, UNIT, UNIT)),
    st.builds(gates.Decay, UNIT),
    st.builds(gates.PerEpoch, st.integers(2, 9)),
    UNIT,
)


@given(GATES)
def test_a_gate_is_read_from_how_it_prints(gate):
    written = weights_of(repr(gate))
    assert written == [gates.as_gate(gate)(i / 100) for i in range(101)]


@pytest.mark.parametrize(
    "text",
    ["", "None", "open('/etc/passwd')", "__import__('os')", "Linear(", "Linear(a=1)", "1 + 1", "9" * 5000, "(" * 150,
     "gates.Linear(0, 1)", "lambda p: p", "Between(0.9, 0.1)", "Linear('x', 1)", "True or 1",
     "Steps((0.1, 0.2), 1e308)"],
)  # fmt: skip
def test_anything_else_is_no_gate(text):
    assert weights_of(text) == []


@pytest.mark.parametrize(
    ("gate", "course"),
    [
        (0.9, "constant"),
        (gates.Linear(0.0, 1.0), "rising"),
        (gates.Warmup(0.1), "rising"),
        (gates.Cosine(1.0, 0.2), "falling"),
        (gates.Steps((0.5,), 0.1), "falling"),
        (gates.Between(0.2, 0.7), "scheduled"),
        (gates.Between(0.0, 0.7), "falling"),
        (lambda progress: progress, "scheduled"),
    ],
)
def test_the_course_of_a_gate(gate, course):
    assert Link("e", ("a",), ("b",), "kd", describe_gate(gate)).course == course


@pytest.mark.parametrize(
    ("gate", "loss", "words"),
    [
        ("0.9", "kd", "0.9"),
        ("Linear(start=0.0, end=1.0)", "kd", "linear_up"),
        ("Linear(1.0, 0.0)", "kd", "linear_down"),
        ("Linear(start=0.25, end=10.0)", "kd", "Linear(0.25, 10)"),
        ("1", "where_correct(kd)", "correct"),
        ("Linear(start=0.0, end=1.0)", "where_correct(kd)", "correct x linear_up"),
    ],
)
def test_a_gate_in_few_words(gate, loss, words):
    assert Link("e", ("a",), ("b",), loss, gate).gate_words == words


def test_links_between_nodes_and_from_the_labels(fake):
    found = plan(fake.graph("kd"))
    labels, kd = found.links
    assert found.learning == ["student"]
    assert (labels.senders(found.nodes), kd.senders(found.nodes)) == ((), ("teacher",))
    assert found.between("student", "student") == [labels]
    assert found.between("teacher", "student") == [kd]
    assert found.between("student", "teacher") == []


def test_a_name_that_is_not_recorded_says_what_it_is(fake):
    link = plan({}).link("teacher.layer1, labels -> student.layer2: hint")
    assert (link.sources, link.target, link.loss) == (("teacher.layer1", "labels"), "student", "hint")
    assert plan({}).link("odd").loss == "odd"
    assert plan(fake.graph("kd")).link("labels -> student: cross_entropy").gate == "0.1"
