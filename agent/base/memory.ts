/**
 * Gives the memory of bytes that nobody will read again back at once. The collector would do it when it next runs, and
 * a stream of gigabytes leaves it a hundred megabytes behind. The bytes are gone: their buffer is empty afterwards.
 * Bytes that share their memory with others are left alone.
 */
export function giveBack({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}
