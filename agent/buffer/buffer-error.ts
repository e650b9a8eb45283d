import { ConnectorError, reasonOf } from '../model/errors.ts';

/** Codes of a disk or a database that is full; any other is a failure of another kind. */
const fullCodes: ReadonlySet<string> = new Set(['SQLITE_FULL', 'ENOSPC', 'EDQUOT']);

/** What our own disk or database refused, in the words every source answers "busy" to. */
export function asBufferError(error: unknown): ConnectorError {
  if (error instanceof ConnectorError) return error;
  const reason = reasonOf(error);
  return new ConnectorError(fullCodes.has(reason) ? 'BUFFER_FULL' : 'BUFFER_FAILED', { reason }, { cause: error });
}

/** Work on our own disk: whatever it throws is the buffer's, never the source's. */
export async function onDisk<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw asBufferError(error);
  }
}
