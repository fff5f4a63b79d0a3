from mentorch.data.dense._classes import CAMVID, CITYSCAPES, NYU13, NYU40, cityscapes_table, nyu_table, table

SAME = ("bed", "books", "ceiling", "chair", "floor", "picture", "sofa", "table", "television", "wall", "window")


def test_there_are_as_many_classes_as_the_names_say():
    assert [len(names) for names in (CAMVID, CITYSCAPES, NYU13, NYU40)] == [11, 19, 13, 40]
    assert all(len(set(names)) == len(names) for names in (CAMVID, CITYSCAPES, NYU13, NYU40))


def test_the_13_classes_are_what_the_40_are_called():
    found = nyu_table(13, 1)
    for name in SAME:
        assert NYU13[found[1 + NYU40.index(name)]] == name
    alike = {"desk": "table", "blinds": "window", "curtain": "window", "door": "wall", "floor mat": "floor"}
    alike |= {"cabinet": "furniture", "night stand": "furniture", "lamp": "objects", "other prop": "objects"}
    for fine, coarse in alike.items():
        assert NYU13[found[1 + NYU40.index(fine)]] == coarse
    assert (found[1:41] < 13).all()
    assert (found[[0, 41, 255]] == 255).all()


def test_tables_of_40_classes():
    assert nyu_table(40, 1)[:42].tolist() == [255, *range(40), 255]
    assert nyu_table(40, 0, last=False)[:41].tolist() == [*range(39), 255, 255]


def test_cityscapes_scores_19_of_its_labels():
    found = cityscapes_table()
    assert (found < 255).sum() == 19
    assert CITYSCAPES[found[7]] == "road"
    assert CITYSCAPES[found[26]] == "car"
    assert CITYSCAPES[found[33]] == "bicycle"
    assert found[0] == found[34] == 255


def test_a_table_counts_only_its_numbers():
    assert table((2, 0))[:4].tolist() == [1, 255, 0, 255]
