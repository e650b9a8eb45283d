/** Where the control socket is, and how its path is said to the system. */
import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { platform } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** `sun_path` holds 108 bytes on Linux and 104 elsewhere; longer paths go through the folder's descriptor. */
const socketPathBytesMax = 100;

export function controlPath(stateDir: string): string {
  return join(stateDir, 'control.sock');
}

export interface SocketAddress {
  readonly text: string;
  /** The descriptor behind `text`, if any, is needed until then. */
  readonly release: () => void;
}

export function socketAddress(path: string): SocketAddress {
  const keep = () => undefined;
  if (platform() === 'win32') {
    // Windows has named pipes instead; their name is made from the path, so that two installations do not meet.
    return {
      text: `\\\\.\\pipe\\kakehashi-${createHash('sha256').update(path).digest('hex').slice(0, 32)}`,
      release: keep,
    };
  }
  if (Buffer.byteLength(path) <= socketPathBytesMax || platform() !== 'linux') return { text: path, release: keep };
  const folder = openSync(dirname(path), 'r');
  let isOpen = true;
  const release = () => {
    if (isOpen) closeSync(folder);
    isOpen = false;
  };
  return { text: `/proc/self/fd/${folder}/${basename(path)}`, release };
}
