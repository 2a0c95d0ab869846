"""Files of gold pairs: what is accepted, and one clear line for what is not."""

from pathlib import Path

import pytest

from omop_emb.errors import OmopEmbError
from omop_emb.evaluation import GoldQuery, read_pairs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pairs.csv"


@pytest.mark.parametrize(
    "data",
    [
        b"query,concept_id\nheart attack,1\n\xc3\x84rger,2\n",
        b"\xef\xbb\xbfquery,concept_id\r\nheart attack,1\r\n\xc3\x84rger,2",
        b"concept_id\tnote\tQuery\n1\tan, example\theart attack\n\n2\t\t\xc3\x84rger\n",
        b'\n"query", concept_id ,x\n"heart attack", 1,\n"\xc3\x84rger",+2,y\n  \n',
    ],
)
def test_accepted_forms(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert read_pairs(path).queries == (GoldQuery("heart attack", (1,)), GoldQuery("Ärger", (2,)))


def test_repeated_pairs_are_merged_and_several_ids_kept(path: Path) -> None:
    path.write_text('query,concept_id\na,2\n"a\nb",3\na,1\na,2\na,2\n A,2\n', encoding="utf-8")
    pairs = read_pairs(path)
    assert pairs.queries == (GoldQuery("a", (2, 1)), GoldQuery("a\nb", (3,)), GoldQuery(" A", (2,)))
    assert pairs.merged == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "pairs.csv is empty"),
        (b"\xef\xbb\xbf \n\n", "pairs.csv is empty"),
        (b"query,concept_id\n", "pairs.csv holds no pairs"),
        (b"heart attack,4329847\n", "header of .*pairs.csv has no column 'query': 'heart attack', '4329847'"),
        (b"query;concept_id\na;1\n", "has no column 'query': 'query;concept_id'"),
        (b"query,concept\na,1\n", "has no column 'concept_id': 'query', 'concept'"),
        (b"query,concept_id,Query\na,1,b\n", "has 2 columns 'query'"),
        (b"query,concept_id\na,1\n \t,2\n", "line 3: the query is blank"),
        (b'query,concept_id\n"a\nb",1\nc,12.0\n', "line 4: concept_id '12.0' is not an integer"),
        (b"query,concept_id\na,\n", "line 2: concept_id '' is not an integer"),
        (b"query,concept_id\na,1_0\n", "line 2: concept_id '1_0' is not an integer"),
        (b"query,concept_id\na,2147483648\n", "line 2: concept_id 2147483648 does not fit a 32-bit integer"),
        (b"query,concept_id\na," + b"9" * 5000 + b"\n", "line 2: concept_id 9{40} does not fit"),
        (b"query,concept_id\nfever, chills,1\n", "line 2: 3 fields where the header has 2"),
        (b"query,concept_id\na,1\nb\n", "line 3: 1 fields where the header has 2"),
        (b"query,concept_id\na,1\n\xe4rger,2\n", "line 3: not UTF-8: byte 0xe4"),
        ("query,concept_id\na,1\n".encode("utf-16"), "line 1: not UTF-8: byte 0xff"),
        (b"query,concept_id\na,1\nb\0,2\n", "line 3: a NUL character"),
        (b'query,concept_id\na,1\n"b,2\nc,3\n', "line 3: not CSV: unexpected end of data"),
        (b"query,concept_id\n" + b"x" * 32769 + b",1\n", "line 2: the query has 32769 characters, the limit is 32768"),
    ],
)
def test_refused(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(OmopEmbError, match=message) as raised:
        read_pairs(path)
    assert "\n" not in raised.value.message


def test_a_file_that_cannot_be_read(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OmopEmbError, match=r"cannot read .*pairs.csv: No such file"):
        read_pairs(path)
    with pytest.raises(OmopEmbError, match="Is a directory"):
        read_pairs(tmp_path)
