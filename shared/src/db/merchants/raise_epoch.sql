-- merchants.raise_epoch
-- Whatever was marked before this is marked again.
UPDATE onceload.merchants SET codes_epoch = codes_epoch + 1 WHERE id = $1
