import pytest

from tasks.evaluation.loops import is_loop

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("heard", "said", "loop"),
    [
        ("and then and then and then and then", "and then he went", True),
        ("so so so so so so so", "so", True),
        ("Go on. Go on, go on! Go on", "go on", True),
        ("two two two two two two", "two two two two two two", False),
        ("two two two two two two two two two two two two", "two two two two two", True),
        ("no no no", "no", False),
        ("thank you thank you", "thank you", False),
        ("one two three four five six seven", "one two three", False),
        ("", "one", False),
        ("x " * 500, "x", True),
    ],
)
def test_a_loop_is_a_phrase_again_and_again_that_nobody_said_so_often(heard: str, said: str, loop: bool):
    assert is_loop(heard, said) is loop
