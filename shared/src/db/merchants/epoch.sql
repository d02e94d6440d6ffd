-- merchants.epoch
SELECT codes_epoch FROM onceload.merchants WHERE id = $1
