/** The streams that bulk-data-client 1.2.1 of SMART Health IT sends each downloaded line through, rebuilt. */
import { Transform, type TransformCallback } from 'node:stream';

export class ParseLines extends Transform {
  #text = '';

  constructor() {
    super({ writableObjectMode: true, readableObjectMode: true });
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, next: TransformCallback): void {
    this.#text += chunk.toString('utf8');
    for (let end = this.#text.search(/\n/); end > -1; end = this.#text.search(/\n/)) {
      this.push(JSON.parse(this.#text.slice(0, end)));
      this.#text = this.#text.slice(end + 1);
    }
    next();
  }

  override _flush(next: TransformCallback): void {
    this.push(JSON.parse(this.#text));
    next();
  }
}

export class WriteLines extends Transform {
  #line = 0;

  constructor() {
    super({ writableObjectMode: true });
  }

  override _transform(resource: unknown, _encoding: BufferEncoding, next: TransformCallback): void {
    this.push(`${this.#line++ > 0 ? '\n' : ''}${JSON.stringify(resource)}`);
    next();
  }
}
