from deepscan.scoring.notes import Notes


def test_a_file_that_ended_two_processes_is_not_begun_again(tmp_path):
    begun = []
    for _ in range(6):
        notes = Notes("actor", tmp_path)
        for number in range(5):
            if notes.may_begin(number):
                begun.append(number)
                if number in {1, 3}:
                    break  # here the process ends
    assert begun == [0, 1, 0, 1, 0, 2, 3, 0, 2, 3, 0, 2, 4, 0, 2, 4]


def test_whoever_ends_between_pieces_blames_no_file(tmp_path):
    for _ in range(3):
        notes = Notes("actor", tmp_path)
        assert notes.may_begin(1)
        notes.rest()
    assert list(tmp_path.iterdir()) == []


def test_actors_do_not_read_the_notes_of_others(tmp_path):
    for name in "abc":
        assert Notes(name, tmp_path).may_begin(1)
