/** Bytes without end for a receiver: as little noise as a compressor could not use, said over and over. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';

/** What is sent at once, to a receiver of ours and of others alike. */
const pieceBytes = 131_072 - 12;

/** Given to the socket together: one system call. */
const piecesAtOnce = 8;

const noise = randomBytes(pieceBytes);

/** `headOf`: what stands before a piece, if anything. Resolves when the socket has taken all. */
export async function pour(
  socket: Socket,
  byteCount: number,
  headOf?: (piece: Buffer, isLast: boolean) => Buffer,
): Promise<void> {
  for (let at = 0; at < byteCount; ) {
    socket.cork();
    for (let n = 0; n < piecesAtOnce && at < byteCount; n++) {
      const piece = noise.subarray(0, Math.min(pieceBytes, byteCount - at));
      at += piece.length;
      if (headOf) socket.write(headOf(piece, at === byteCount));
      socket.write(piece);
    }
    socket.uncork();
    if (socket.writableNeedDrain) await once(socket, 'drain');
  }
}
