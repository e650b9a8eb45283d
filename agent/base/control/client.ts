/** The side of the command that asks. */
import { connect, type Socket } from 'node:net';
import { ConnectorError, type ErrorCode, type ErrorDetails, errorTable, reasonOf } from '../../model/errors.ts';
import { type SocketAddress, socketAddress } from './address.ts';
import { type ControlArgs, parseJson, readLines, type Reply } from './frames.ts';

/**
 * Asks the running agent and waits for its answer, however long that takes.
 *
 * @throws ConnectorError what the handler threw; CONTROL_UNREACHABLE when none runs; CONTROL_BROKEN when it stopped
 *   answering; CONTROL_REFUSED for a request it does not understand.
 */
export async function callControl(
  path: string,
  verb: string,
  args: ControlArgs = {},
  options: { onProgress?: (value: unknown) => void } = {},
): Promise<unknown> {
  const socket = await openControl(path);
  try {
    return await new Promise((resolve, reject) => {
      const broken = () => reject(new ConnectorError('CONTROL_BROKEN', { verb }));
      socket.on('error', broken).on('close', broken);
      readLines(
        socket,
        (line) => {
          const reply = parseJson(line) as Reply | undefined;
          if (!reply) broken();
          else if ('progress' in reply) options.onProgress?.(reply.progress);
          else if (reply.error) reject(errorOf(reply.error, verb));
          else resolve(reply.result);
        },
        { onTooLong: broken },
      );
      socket.write(`${JSON.stringify({ id: 1, verb, args })}\n`);
    });
  } finally {
    socket.destroy();
  }
}

/** A connection to whoever answers there. @throws ConnectorError CONTROL_UNREACHABLE */
export function openControl(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) =>
      reject(new ConnectorError('CONTROL_UNREACHABLE', { path, reason: reasonOf(cause) }, { cause }));
    let address: SocketAddress;
    try {
      address = socketAddress(path);
    } catch (cause) {
      return fail(cause);
    }
    const socket = connect(address.text);
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.off('error', fail);
      resolve(socket);
    });
    socket.once('connect', address.release).once('error', address.release);
  });
}

/** The same error as it was thrown over there, if this version knows it. */
function errorOf({ code, details }: { code: string; details: ErrorDetails }, verb: string): ConnectorError {
  return isErrorCode(code)
    ? new ConnectorError(code, details)
    : new ConnectorError('CONTROL_FAILED', { verb, reason: code });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}
