-- So that a spill whose host ended before it deleted the file is not applied again.
ALTER TABLE mnemon.spaces ADD COLUMN applied uuid;

COMMENT ON COLUMN mnemon.spaces.applied IS 'the opening whose spill was applied last: if its file is still there, it is deleted';
