-- merchants.epoch
SELECT codes_epoch FROM merchants WHERE id = $1
