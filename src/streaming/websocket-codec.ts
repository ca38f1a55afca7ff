/**
 * Kubernetes' channels in WebSocket messages: the first byte is the channel (0 to 254), the rest its data; in the base64
 * variants the first character is its digit and the rest is base64. v5 adds `255, CHANNEL`: the sender closes the channel.
 */
import { CairnError } from '../base/errors.ts';

const CLOSE = 255;
const DIGIT_0 = 0x30;

export interface ChannelMessage {
  readonly channel: number;
  readonly data: Buffer;
  /** The channel ends; no data. */
  readonly close: boolean;
}

export interface ChannelCodec {
  readonly base64: boolean;
  /** v5: a channel can be closed. */
  readonly closes: boolean;
}

/** Undefined for what carries nothing: an empty message, a close of a protocol without closes. */
export function decodeMessage(codec: ChannelCodec, message: Buffer): ChannelMessage | undefined {
  const first = message[0];
  if (first === undefined) return undefined;
  if (codec.base64) return { channel: first - DIGIT_0, data: fromBase64(message), close: false };
  if (first !== CLOSE) return { channel: first, data: message.subarray(1), close: false };
  const channel = message[1];
  return codec.closes && channel !== undefined ? { channel, data: Buffer.alloc(0), close: true } : undefined;
}

export function encodeMessage(codec: ChannelCodec, channel: number, data: Buffer): Buffer {
  if (codec.base64) return Buffer.from(`${channel}${data.toString('base64')}`, 'latin1');
  const message = Buffer.allocUnsafe(data.length + 1);
  message[0] = channel;
  message.set(data, 1);
  return message;
}

function fromBase64(message: Buffer): Buffer {
  const text = message.toString('latin1', 1);
  // Buffer.from would skip what is no base64.
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw new CairnError('InvalidArgument', 'a message that is not base64', { step: 'streaming.websocket' });
  }
  return Buffer.from(text, 'base64');
}
