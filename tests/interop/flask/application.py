"""A Flask application behind `ringway server --http-proxy`, for scripts/flask."""

import hashlib

from flask import Flask, redirect, request, session, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.secret_key = "only for this test"
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)


@app.get("/")
def index():
    return f"<p>{request.scheme}://{request.host} {request.remote_addr}"


@app.post("/login")
def login():
    session["name"] = request.form["name"]
    return redirect(url_for("hello", _external=True))


@app.get("/hello")
def hello():
    return f"hello {session.get('name', 'nobody')}"


@app.put("/upload")
def upload():
    digest, size = hashlib.sha256(), 0
    while piece := request.stream.read(65536):
        digest.update(piece)
        size += len(piece)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/download/<int:size>")
def download(size):
    def pieces():
        left = size
        while left > 0:
            yield bytes(min(left, 65536))
            left -= 65536

    return pieces(), {"Content-Type": "application/octet-stream"}
