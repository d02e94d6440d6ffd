-- codes.hold_keys
-- Deletes nothing: it takes the lock of a DELETE, which lets nobody add a foreign key before the transaction ends.
DELETE FROM onceload.codes WHERE false
