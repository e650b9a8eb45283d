export { type Job, type JobStatus, Scheduler, type SchedulerOptions } from './scheduler.ts';
export { scheduleMigration } from './schema.ts';
export { parseWindow, type Window } from './window.ts';
export { CronTimes } from './cron.ts';
