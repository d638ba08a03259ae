"""The dashboard's server beside Streamlit's pages: access control, login, images, videos and uploads."""
