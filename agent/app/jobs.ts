/** Names of the scheduled jobs, as the state database remembers them. */
export const pullJob = (source: string) => `pull ${source}`;
export const shipJob = (producer: string) => `ship ${producer}`;

/** A source without a schedule is polled by hand alone: 30 February does not come. */
export const neverCron = '0 0 30 2 *';
