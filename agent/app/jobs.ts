/** Names of the scheduled jobs, as the state database remembers them. */
export const pullJob = (source: string) => `pull ${source}`;
export const shipJob = (producer: string) => `ship ${producer}`;
