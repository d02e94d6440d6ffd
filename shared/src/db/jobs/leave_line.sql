-- jobs.leave_line
-- Nobody listens to its token: it must not keep the others waiting. If its execution lives, it joins again at its old place;
-- else the sweep ends the job.
UPDATE onceload.codes_import_jobs SET phase = 'registered', task_token = NULL
 WHERE id = $1 AND status = 'pending' AND phase = 'waiting_for_merchant' AND task_token = $2
